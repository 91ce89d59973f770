SUMMARY = "The sample workload, as an OCI image that devices come with"
DESCRIPTION = "A web server of one static program. It shows that a device runs a workload without a network."
HOMEPAGE = "https://github.com/edgelet/edgelet"
SECTION = "containers"
LICENSE = "Apache-2.0 & BSD-3-Clause & MIT"
LIC_FILES_CHKSUM = "file://../LICENSE;md5=3b83ef96387f14655fc854ddc3c6bd57"

SRC_URI = "file://edgelet-hello.yaml"
# The workspace resolves as a whole, so all of its crates have to be there.
require recipes-edgelet/edgelet/edgelet-crates.inc

inherit cargo edgelet_oci_image externalsrc nopackages

EXTERNALSRC ?= "${@os.path.normpath('${EDGELET_OS_LAYERDIR}/agent')}"
EXTERNALSRC_SYMLINKS = ""

# Static, at a fixed address: there is nothing else in the image.
CARGO_BUILD_FLAGS += "--package hello"
RUSTFLAGS += "-C target-feature=+crt-static -C relocation-model=static"
export CARGO_PROFILE_RELEASE_STRIP = "symbols"

OCI_IMAGE_NAME = "docker.io/edgelet/hello:1"
OCI_IMAGE_ENTRYPOINT = "/hello"
OCI_IMAGE_ENV = "PATH=/ PORT=8080"
OCI_IMAGE_USER = "65534:65534"

do_install() {
    install -D -m 0755 ${B}/target/${CARGO_TARGET_SUBDIR}/hello ${D}/hello
    install -d -m 0755 ${D}/etc
    install -d -m 1777 ${D}/tmp
    printf 'root:x:0:0:root:/:/hello\nnobody:x:65534:65534:nobody:/:/hello\n' >${D}/etc/passwd
    chmod 0644 ${D}/etc/passwd
}

do_deploy:append() {
    install -m 0644 ${UNPACKDIR}/edgelet-hello.yaml ${DEPLOYDIR}/
}

SUMMARY = "The sample workload, as an OCI image that devices come with"
DESCRIPTION = "A web server of one program. It shows that a device runs a workload without a network."
HOMEPAGE = "https://github.com/edgelet/edgelet"
SECTION = "containers"
# The program's, and those of the C library that comes with it.
LICENSE = "Apache-2.0 & BSD-3-Clause & GPL-3.0-with-GCC-exception & LGPL-2.1-or-later & MIT"
LIC_FILES_CHKSUM = "file://../LICENSE;md5=3b83ef96387f14655fc854ddc3c6bd57"

SRC_URI = "file://edgelet-hello.yaml"
# The workspace resolves as a whole, so all of its crates have to be there.
require recipes-edgelet/edgelet/edgelet-crates.inc

inherit cargo edgelet_oci_image externalsrc nopackages

EXTERNALSRC ?= "${@os.path.normpath('${EDGELET_OS_LAYERDIR}/agent')}"
EXTERNALSRC_SYMLINKS = ""
# Not the time of the youngest file there: that differs with each checkout.
SOURCE_DATE_EPOCH = "${SOURCE_DATE_EPOCH_FALLBACK}"

CARGO_BUILD_FLAGS += "--package hello"
# There is nothing else in the image. A Rust target that links glibc statically does so; OE's do not, whatever is asked
# of them, and then the libraries are in /lib.
RUSTFLAGS += "-C target-feature=+crt-static -C relocation-model=static -C link-arg=-Wl,-rpath,/lib"
export CARGO_PROFILE_RELEASE_STRIP = "symbols"

OCI_IMAGE_NAME = "docker.io/edgelet/hello:1"
OCI_IMAGE_ENTRYPOINT = "/hello"
OCI_IMAGE_ENV = "PATH=/ PORT=8080"
OCI_IMAGE_USER = "65534:65534"

do_install() {
    program=${B}/target/${CARGO_TARGET_SUBDIR}/hello
    install -D -m 0755 $program ${D}/hello
    ${READELF} --wide --dynamic --program-headers $program |
    sed -n -e 's|.*program interpreter: \(.*\)\]|\1|p' -e 's|.*Shared library: \[\(.*\)\]|/lib/\1|p' |
    while read -r place; do
        library=$(find ${STAGING_DIR_TARGET} -name "${place##*/}" | head -n 1)
        [ -n "$library" ] || bbfatal "the program needs $place, which is not in the sysroot"
        install -D -m 0755 "$library" ${D}$place
        # Nothing strips what is in no package.
        ${STRIP} --strip-unneeded ${D}$place
    done
    install -d -m 0755 ${D}/etc
    install -d -m 1777 ${D}/tmp
    printf 'root:x:0:0:root:/:/hello\nnobody:x:65534:65534:nobody:/:/hello\n' >${D}/etc/passwd
    chmod 0644 ${D}/etc/passwd
}

do_deploy:append() {
    install -m 0644 ${UNPACKDIR}/edgelet-hello.yaml ${DEPLOYDIR}/
}

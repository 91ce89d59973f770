SUMMARY = "GRUB's script and variables for edgelet-os"
DESCRIPTION = "Chooses the slot to start, counts attempts, and passes on how the root is verified."
HOMEPAGE = "https://github.com/edgelet/edgelet"
SECTION = "bootloaders"
LICENSE = "Apache-2.0"
LIC_FILES_CHKSUM = "file://${COMMON_LICENSE_DIR}/Apache-2.0;md5=89aea4e17d99a7cacdbeed46a0096b10"

SRC_URI = "file://grub.cfg.in"

S = "${UNPACKDIR}"

inherit deploy nopackages

INHIBIT_DEFAULT_DEPS = "1"

COMPATIBLE_HOST = "x86_64.*-linux"

do_configure[noexec] = "1"

do_compile() {
    sed -e 's|@KERNEL_ARGS@|${EDGELET_KERNEL_ARGS}|' ${S}/grub.cfg.in >${B}/grub.cfg
    # The form that grub-editenv writes: a head line, the variables, and # up to 1024 bytes.
    {
        printf '# GRUB Environment Block\nORDER=A B\nA_OK=1\nA_TRY=0\nB_OK=1\nB_TRY=0\nrounds=0\nlast=\npending=\n'
        yes '#' | tr -d '\n'
    } | head -c 1024 >${B}/grubenv
}
do_install[noexec] = "1"

do_deploy() {
    install -m 0644 ${B}/grub.cfg ${B}/grubenv ${DEPLOYDIR}/
}
addtask deploy after do_compile before do_build

PACKAGE_ARCH = "${MACHINE_ARCH}"

SUMMARY = "U-Boot's script for edgelet-os"
DESCRIPTION = "Chooses the slot to start, counts attempts, and passes on how the root is verified; and says where the variables are for programs of the running system."
HOMEPAGE = "https://github.com/edgelet/edgelet"
SECTION = "bootloaders"
LICENSE = "Apache-2.0"
LIC_FILES_CHKSUM = "file://${COMMON_LICENSE_DIR}/Apache-2.0;md5=89aea4e17d99a7cacdbeed46a0096b10"

DEPENDS = "u-boot-mkimage-native"
# The name under which a board's own layer asks for such a script.
PROVIDES += "u-boot-default-script"

SRC_URI = "\
    file://boot.cmd.in \
    file://fw_env.config \
"

S = "${UNPACKDIR}"

inherit deploy kernel-arch

INHIBIT_DEFAULT_DEPS = "1"

COMPATIBLE_HOST = "(aarch64|arm|riscv64).*-linux.*"

# Of U-Boot's commands for kernels the one that knows this form of image.
EDGELET_BOOT_COMMAND ?= "${@'bootz' if d.getVar('KERNEL_IMAGETYPE') == 'zImage' else 'booti'}"

do_configure[noexec] = "1"

do_compile() {
    sed -e 's|@KERNEL_ARGS@|${EDGELET_KERNEL_ARGS}|' \
        -e 's|@DTB@|${EDGELET_UBOOT_DTB}|g' \
        -e 's|@BOOT_COMMAND@|${EDGELET_BOOT_COMMAND}|' \
        ${S}/boot.cmd.in >${B}/boot.cmd
    mkimage -A ${UBOOT_ARCH} -T script -C none -n edgelet-os -d ${B}/boot.cmd ${B}/boot.scr
}

do_install() {
    install -D -m 0644 ${S}/fw_env.config ${D}${sysconfdir}/fw_env.config
}

do_deploy() {
    install -m 0644 ${B}/boot.scr ${DEPLOYDIR}/
}
addtask deploy after do_compile before do_build

PACKAGE_ARCH = "${MACHINE_ARCH}"

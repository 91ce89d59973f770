SUMMARY = "First process of an edgelet-os device"
DESCRIPTION = "Opens the verified root of the slot that the loader chose, prepares the data partition, and hands over to systemd."
HOMEPAGE = "https://github.com/edgelet/edgelet"
SECTION = "base"
LICENSE = "Apache-2.0"
LIC_FILES_CHKSUM = "file://${COMMON_LICENSE_DIR}/Apache-2.0;md5=89aea4e17d99a7cacdbeed46a0096b10"

SRC_URI = "\
    file://console.sh \
    file://data.sh \
    file://disk.sh \
    file://init \
    file://reset.sh \
    file://root.sh \
    file://state.sh \
"

S = "${UNPACKDIR}"

inherit allarch

do_configure[noexec] = "1"
do_compile[noexec] = "1"

do_install() {
    install -D -m 0755 ${S}/init ${D}/init
    install -d ${D}${nonarch_libdir}/edgelet-os
    for part in console data disk reset root state; do
        install -m 0644 ${S}/$part.sh ${D}${nonarch_libdir}/edgelet-os/
    done
    # Where it mounts, since nothing else makes these in an initramfs.
    install -d ${D}/dev ${D}/proc ${D}/run ${D}/sys ${D}/sysroot
}

FILES:${PN} = "\
    /dev \
    /init \
    /proc \
    /run \
    /sys \
    /sysroot \
    ${nonarch_libdir}/edgelet-os \
"

RDEPENDS:${PN} = "\
    busybox \
    cryptsetup \
    e2fsprogs-e2fsck \
    e2fsprogs-mke2fs \
    e2fsprogs-resize2fs \
    util-linux-blkid \
    util-linux-sfdisk \
"

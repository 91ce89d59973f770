# For this distribution alone: our mounts, and a host name that is bound from the data partition.
FILESEXTRAPATHS:prepend:edgelet-os := "${THISDIR}/files:"

SRC_URI:append:edgelet-os = " file://fstab.in"

hostname:edgelet-os = "edgelet"

do_install:append:edgelet-os() {
    sed -e 's/@LOADER_LABEL@/${@'efi' if d.getVar('EDGELET_LOADER') == 'grub' else 'boot'}/' \
        ${UNPACKDIR}/fstab.in >${D}${sysconfdir}/fstab
    # The initramfs binds a file over it; without a data partition it stays empty, and systemd makes one in memory.
    : >${D}${sysconfdir}/machine-id
}

# fstab names the loader's partition.
PACKAGE_ARCH:edgelet-os = "${MACHINE_ARCH}"

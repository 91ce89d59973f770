# Slots of our partition table, and the keyring that the builder names.
FILESEXTRAPATHS:prepend:edgelet-os := "${THISDIR}/files:"

SRC_URI:edgelet-os = "file://system.conf.in"

# The variables are on the loader's partition, which /boot mounts.
EDGELET_RAUC_BOOTLOADER_OPTIONS:edgelet-os = "${@'grubenv=/boot/EFI/BOOT/grubenv' if d.getVar('EDGELET_LOADER') == 'grub' else 'boot-attempts=3'}"

do_install:edgelet-os() {
    keyring="${EDGELET_BUNDLE_KEYRING}"
    [ -n "$keyring" ] || bbfatal "EDGELET_BUNDLE_KEYRING is not set: a device has to know whose updates to trust. docs/device/updates.md says how to make keys."
    [ -s "$keyring" ] || bbfatal "EDGELET_BUNDLE_KEYRING: $keyring is missing or empty"
    install -d ${D}${sysconfdir}/rauc
    sed -e 's|@MACHINE@|${MACHINE}|' \
        -e 's|@BOOTLOADER@|${EDGELET_LOADER}|' \
        -e 's|@BOOTLOADER_OPTIONS@|${EDGELET_RAUC_BOOTLOADER_OPTIONS}|' \
        ${UNPACKDIR}/system.conf.in >${D}${sysconfdir}/rauc/system.conf
    install -m 0644 "$keyring" ${D}${sysconfdir}/rauc/keyring.pem
}
do_install[file-checksums] += "${@d.getVar('EDGELET_BUNDLE_KEYRING') + ':True' if d.getVar('EDGELET_BUNDLE_KEYRING') else ''}"

PACKAGE_ARCH:edgelet-os = "${MACHINE_ARCH}"

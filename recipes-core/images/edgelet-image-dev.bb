SUMMARY = "edgelet OS for development"
DESCRIPTION = "The product's image with a root shell on the serial console and SSH with a key. Not for devices that leave the bench."

require edgelet-image.inc

IMAGE_FEATURES += "allow-root-login empty-root-password serial-autologin-root ssh-server-dropbear"

IMAGE_INSTALL += "\
    e2fsprogs-dumpe2fs \
    edgelet-bash-completion \
    strace \
    util-linux-lsblk \
"

# Host keys and authorized_keys are on the data partition, which the initramfs shows at /etc/dropbear. An empty
# password does not open SSH.
edgelet_dev_access() {
    install -d -m 0700 ${IMAGE_ROOTFS}${sysconfdir}/dropbear
    ln -sfn ../etc/dropbear ${IMAGE_ROOTFS}${ROOT_HOME}/.ssh
    sed -i -e '/^DROPBEAR_RSAKEY_DIR=/d' ${IMAGE_ROOTFS}${sysconfdir}/default/dropbear
    echo 'DROPBEAR_RSAKEY_DIR=${sysconfdir}/dropbear' >>${IMAGE_ROOTFS}${sysconfdir}/default/dropbear
    echo 'This is a development image: anybody at the serial console is root.' >>${IMAGE_ROOTFS}${sysconfdir}/issue
}
# After OE's own change for read-only roots.
ROOTFS_POSTPROCESS_COMMAND:append = " edgelet_dev_access"

# veritysetup for the initramfs: no LUKS, and no udev, which does not run there.
PACKAGECONFIG:class-target:edgelet-os = "blkid kernel_crypto openssl veritysetup"
PACKAGECONFIG:remove:edgelet-os = "udev"

SUMMARY = "Initramfs of edgelet-os"
DESCRIPTION = "Busybox, the tools that open and check file systems, and the script that uses them. It goes into the kernel slot beside the kernel."
HOMEPAGE = "https://github.com/edgelet/edgelet"
LICENSE = "Apache-2.0"

inherit core-image

# No modules and no kernel: what it needs is built in.
PACKAGE_INSTALL = "base-passwd edgelet-initramfs-init"
PACKAGE_EXCLUDE = "kernel-image-*"
BAD_RECOMMENDATIONS = "busybox-syslog"
NO_RECOMMENDATIONS = "1"
KERNELDEPMODDEPEND = ""
KERNEL_DEPLOY_DEPEND = ""

IMAGE_FEATURES = ""
IMAGE_FSTYPES = "cpio.zst"
IMAGE_LINGUAS = ""
IMAGE_NAME_SUFFIX = ""
IMAGE_ROOTFS_EXTRA_SPACE = "0"
EXTRA_IMAGEDEPENDS = ""

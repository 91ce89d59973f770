# Image types for slots.
#
#   verity      the squashfs of the root with its dm-verity tree behind it
#   kernelslot  a FAT file system with kernel, initramfs, device trees and what the loader passes to verify the root
#
# The second carries the hash of the first, so the two are only ever right together.

IMAGE_TYPES += "kernelslot verity"

IMAGE_TYPEDEP:verity = "squashfs-zst"
IMAGE_TYPEDEP:kernelslot = "verity"
IMAGE_TYPEDEP:wic = "kernelslot verity"

# The loader never reads it, so it may be what is smallest and still quick to read.
EXTRA_IMAGECMD:squashfs-zst = "-b 128K -Xcompression-level 19"

EDGELET_INITRAMFS_IMAGE ?= "edgelet-initramfs"
EDGELET_INITRAMFS_IMAGE[doc] = "Image recipe of the initramfs in the kernel slot."
EDGELET_DEVICETREES ?= "${@' '.join(os.path.basename(t) for t in (d.getVar('KERNEL_DEVICETREE') or '').split() if t.endswith('.dtb'))}"
EDGELET_DEVICETREES[doc] = "Device trees that go into the kernel slot, by their names in the deploy folder."

SLOT_TOOLS = "${EDGELET_OS_LAYERDIR}/files/slots"

do_image_verity[doc] = "Puts a dm-verity tree behind the root"
do_image_verity[depends] += "cryptsetup-native:do_populate_sysroot"
do_image_verity[file-checksums] += "${SLOT_TOOLS}/make-verity:True"
do_image_kernelslot[doc] = "Makes the FAT file system of a kernel slot"
do_image_kernelslot[depends] += "\
    dosfstools-native:do_populate_sysroot \
    mtools-native:do_populate_sysroot \
    virtual/kernel:do_deploy \
    ${EDGELET_INITRAMFS_IMAGE}:do_image_complete \
"
do_image_kernelslot[file-checksums] += "${SLOT_TOOLS}/make-kernel-slot:True"

IMAGE_CMD:verity() {
    ${SLOT_TOOLS}/make-verity ${IMGDEPLOYDIR}/${IMAGE_NAME}.squashfs-zst ${IMGDEPLOYDIR}/${IMAGE_NAME}.verity \
        ${EDGELET_ROOTFS_SLOT_SIZE} >${WORKDIR}/slot_args
}

IMAGE_CMD:kernelslot() {
    set --
    for tree in ${EDGELET_DEVICETREES}; do
        set -- "$@" ${DEPLOY_DIR_IMAGE}/$tree
    done
    ${SLOT_TOOLS}/make-kernel-slot ${IMGDEPLOYDIR}/${IMAGE_NAME}.kernelslot ${EDGELET_KERNEL_SLOT_SIZE} \
        "$(cat ${WORKDIR}/slot_args)" ${DEPLOY_DIR_IMAGE}/${KERNEL_IMAGETYPE} \
        ${DEPLOY_DIR_IMAGE}/${EDGELET_INITRAMFS_IMAGE}-${MACHINE}.cpio.zst "$@"
}

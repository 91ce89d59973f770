SUMMARY = "Signed update of an edgelet-os device"
DESCRIPTION = "A RAUC bundle in the verity format with the root and the kernel of one slot."
HOMEPAGE = "https://github.com/edgelet/edgelet"
LICENSE = "Apache-2.0"

inherit bundle

# Nobody signs a world build, and in a foreign distribution there is no image of ours.
EXCLUDE_FROM_WORLD = "1"

EDGELET_BUNDLE_IMAGE ?= "edgelet-image"
EDGELET_BUNDLE_IMAGE[doc] = "The image recipe whose slots the bundle carries."

RAUC_BUNDLE_COMPATIBLE = "edgelet-os-${MACHINE}"
RAUC_BUNDLE_VERSION = "${DISTRO_VERSION}"
RAUC_BUNDLE_DESCRIPTION = "${DISTRO_NAME} ${DISTRO_VERSION} for ${MACHINE}"
RAUC_BUNDLE_FORMAT = "verity"

RAUC_BUNDLE_SLOTS = "kernel rootfs"

RAUC_SLOT_rootfs = "${EDGELET_BUNDLE_IMAGE}"
RAUC_SLOT_rootfs[fstype] = "verity"
RAUC_SLOT_rootfs[rename] = "rootfs.img"

RAUC_SLOT_kernel = "${EDGELET_BUNDLE_IMAGE}"
RAUC_SLOT_kernel[fstype] = "kernelslot"
RAUC_SLOT_kernel[rename] = "kernel.img"

RAUC_KEY_FILE = "${EDGELET_BUNDLE_KEY}"
RAUC_CERT_FILE = "${EDGELET_BUNDLE_CERT}"

# Said before anything is built for hours, and not while recipes are parsed: looking around needs no keys.
python do_check_keys() {
    for variable in ("EDGELET_BUNDLE_KEY", "EDGELET_BUNDLE_CERT"):
        value = d.getVar(variable)
        if not value:
            bb.fatal("%s is not set: a bundle has to be signed. docs/device/updates.md says how to make keys." % variable)
        if not os.path.isfile(value):
            bb.fatal("%s: there is no file %s" % (variable, value))
}
do_check_keys[doc] = "Stops when there is no key to sign with"
addtask check_keys before do_fetch
do_check_keys[nostamp] = "1"

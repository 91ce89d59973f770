# For image recipes: workloads that the device has without a network.
#
#   inherit edgelet_preload
#   EDGELET_PRELOAD = "my-workload"
#
# Each recipe named deploys <name>.oci, an OCI layout as a directory or an archive, and may deploy <name>.yaml,
# a manifest. They come to /usr/share/edgelet/seed, from where edgelet-seed.service gives them to the node at the
# first start: images are unpacked into the node's own store, so that they can be replaced like any other.

EDGELET_PRELOAD ?= ""
EDGELET_PRELOAD[doc] = "Recipes whose deployed OCI images and manifests are put into the image."

do_rootfs[depends] += "${@' '.join('%s:do_deploy' % name for name in d.getVar('EDGELET_PRELOAD').split())}"
do_rootfs[vardeps] += "EDGELET_PRELOAD"

edgelet_preload() {
    seed=${IMAGE_ROOTFS}${datadir}/edgelet/seed
    for name in ${EDGELET_PRELOAD}; do
        [ -e ${DEPLOY_DIR_IMAGE}/$name.oci ] || bbfatal "EDGELET_PRELOAD: $name deployed no $name.oci"
        install -d $seed/images $seed/manifests
        cp -R --no-preserve=ownership ${DEPLOY_DIR_IMAGE}/$name.oci $seed/images/
        if [ -e ${DEPLOY_DIR_IMAGE}/$name.yaml ]; then
            install -m 0644 ${DEPLOY_DIR_IMAGE}/$name.yaml $seed/manifests/
        fi
    done
}
ROOTFS_POSTPROCESS_COMMAND += "edgelet_preload"

# A device's own choice of parts, and none of the mounts over /var that OE adds for a read-only root: the
# initramfs has made it writable, with the data partition's places in it.
PACKAGECONFIG:remove:edgelet-os = "hibernate machined nss-mymachines quotacheck vconsole"
RDEPENDS:${PN}:remove:edgelet-os = "volatile-binds"

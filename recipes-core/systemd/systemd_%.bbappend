# A device's own choice of parts, and none of the mounts over /var that OE adds for a read-only root: the
# initramfs has made it writable, with the data partition's places in it.
PACKAGECONFIG:remove:edgelet-os = "hibernate machined nss-mymachines quotacheck vconsole"
# Nor logins on every port that the machine lists: waiting for one that is not there holds up the start for minutes,
# and systemd finds the consoles that are.
RDEPENDS:${PN}:remove:edgelet-os = "systemd-serialgetty volatile-binds"

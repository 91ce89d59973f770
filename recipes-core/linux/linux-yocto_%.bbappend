require recipes-core/linux/edgelet-linux.inc

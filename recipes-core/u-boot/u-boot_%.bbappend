# What boot.scr uses, and the variables in a file on partition 1, twice, so that a cut leaves one of the two.
FILESEXTRAPATHS:prepend:edgelet-os := "${THISDIR}/files:"

SRC_URI:append:edgelet-os = " file://edgelet.cfg file://edgelet-env-${EDGELET_UBOOT_ENV}.cfg"

# The first content of that file has to be U-Boot's defaults: what it reads replaces them.
UBOOT_INITIAL_ENV_BINARY:edgelet-os = "1"
UBOOT_INITIAL_ENV_BINARY_REDUND:edgelet-os = "1"
UBOOT_INITIAL_ENV_BINARY_SIZE:edgelet-os = "0x4000"

# `sync FILE` and `sync -f`: one file system, not all of them.
FILESEXTRAPATHS:prepend:edgelet-os := "${THISDIR}/files:"

SRC_URI:append:edgelet-os = " file://edgelet.cfg"

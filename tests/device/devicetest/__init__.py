"""A device made from Debian packages and our own files, booted under QEMU and looked at from inside.

Read in this order: machines (what differs between architectures), packages (what comes from Debian), layers (what
comes from this repository), initramfs, system, disk and bundle (what is made of both), vm (the driver), checks.
"""

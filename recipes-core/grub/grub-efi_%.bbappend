# `cfg` is built into the program: the rest is where it came from, and not on whatever other medium has such a file.
FILESEXTRAPATHS:prepend:edgelet-os := "${THISDIR}/files:"

# The modules that our grub.cfg names, and those that read it.
GRUB_BUILDIN:edgelet-os = "\
    boot \
    configfile \
    echo \
    efi_gop \
    fat \
    linux \
    loadenv \
    minicmd \
    normal \
    part_gpt \
    probe \
    reboot \
    regexp \
    serial \
    sleep \
    terminal \
    test \
    true \
"

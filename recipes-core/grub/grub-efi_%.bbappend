# The modules that our grub.cfg names, and those that find it.
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
    search \
    serial \
    sleep \
    terminal \
    test \
    true \
"

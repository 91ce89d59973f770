# Factory reset: everything on the data partition goes, or everything but who this device is.
# The system asks by the file os/reset on the partition, whose text is "all" or "keep-identity"; somebody at
# the loader by edgelet.reset on the kernel's command line, which also serves when the file system is gone.

# By the loader: a new file system, since the old one may not be readable at all.
reset_asked_by_loader() {
    [ "$(parameter edgelet.reset)" = all ] || return 0
    make_file_system "$1"
}

# As files/wic has it, so that an older release can check and repair it too. By its path: some shells have a smaller
# one of this name built in.
make_file_system() {
    say "factory reset: making a new data file system on $1"
    /usr/sbin/mke2fs -q -F -t ext4 -L data -b 4096 -i 16384 -m 1 -J size=16 -O ^orphan_file,^metadata_csum_seed "$1" ||
        say "$1 cannot be formatted"
}

# By the system: file by file with the order going last, so that a cut on the way only means that it is done again.
reset_asked_by_system() {
    order=/sysroot/data/os/reset
    [ -f "$order" ] || return 0
    keep=$(cat "$order")
    say "factory reset: $keep"
    kept=
    for entry in /sysroot/data/* /sysroot/data/.[!.]* /sysroot/data/..?*; do
        case ${entry#/sysroot/data/} in
            os) rm -rf "$entry/before-update" ;;
            identity) [ "$keep" = keep-identity ] || rm -rf "$entry" || kept=$entry ;;
            *) rm -rf "$entry" || kept=$entry ;;
        esac
    done
    sync
    if [ -n "$kept" ]; then
        say "$kept cannot be removed"
        reset_without_removing
        return
    fi
    rm -rf /sysroot/data/os
    sync
}

# What cannot be removed goes with its file system. Who the device is stands in memory meanwhile: a cut just then makes
# it another one.
reset_without_removing() {
    mkdir /run/edgelet-os/kept
    [ "$keep" != keep-identity ] || cp -a /sysroot/data/identity /run/edgelet-os/kept/
    umount /sysroot/data
    make_file_system "$device"
    mount_data || fail "the data partition cannot be mounted after its factory reset"
    cp -a /run/edgelet-os/kept/. /sysroot/data/ && sync
    rm -rf /run/edgelet-os/kept
}

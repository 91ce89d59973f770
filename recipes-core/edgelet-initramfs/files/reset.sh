# Factory reset: everything on the data partition goes, or everything but who this device is.
# The system asks by the file os/reset on the partition, whose text is "all" or "keep-identity"; somebody at
# the loader by edgelet.reset on the kernel's command line, which also serves when the file system is gone.

# By the loader: a new file system, since the old one may not be readable at all.
reset_asked_by_loader() {
    [ "$(parameter edgelet.reset)" = all ] || return 0
    say "factory reset: making a new data file system on $1"
    # As files/wic has it, so that an older release can check and repair it too. By its path: some shells have a
    # smaller one of this name built in.
    /usr/sbin/mke2fs -q -F -t ext4 -L data -b 4096 -i 16384 -m 1 -J size=16 -O ^orphan_file,^metadata_csum_seed "$1" ||
        say "$1 cannot be formatted"
}

# By the system: file by file with the order going last, so that a cut on the way, or a file that cannot be removed,
# only means that it is done again.
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
        say "$kept could not be removed: the factory reset is not complete, and goes on at the next start"
        return
    fi
    rm -rf /sysroot/data/os
    sync
}

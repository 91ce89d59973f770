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

# By the system: file by file with the order going last, so that a cut on the way only means that it is done again. A
# file that cannot be removed must not mean that: all that was made since would go with each start.
reset_asked_by_system() {
    order=/sysroot/data/os/reset
    [ -f "$order" ] || return 0
    keep=$(cat "$order")
    say "factory reset: $keep"
    kept=
    for entry in /sysroot/data/* /sysroot/data/.[!.]* /sysroot/data/..?*; do
        case ${entry#/sysroot/data/} in
            os) ;;
            identity) [ "$keep" = keep-identity ] || remove "$entry" || kept=$entry ;;
            *) remove "$entry" || kept=$entry ;;
        esac
    done
    sync
    [ -z "$kept" ] || say "$kept cannot be removed, and stays; the loader's factory reset makes a new file system"
    rm -rf /sysroot/data/os
    sync
}

# Workloads may have made files immutable.
remove() { rm -rf "$1" 2>/dev/null || { chattr -R -i -a "$1"; rm -rf "$1"; }; }

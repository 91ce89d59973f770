# The data partition: grown to the medium, checked, mounted at /sysroot/data. What became of it is left in
# /run/edgelet-os/data: ok, missing or damaged. It is never formatted but when somebody asked for it. Without
# it /data is memory, so that RAUC can still tell the loader that the slot is good.

# Gives the partition what is free behind it, if it is the last one.
grow_data() {
    device=$(partition data)
    [ -n "$device" ] || return 0
    mend_table
    block=/sys/class/block/${device#/dev/}
    end=$(($(cat "$block/start") + $(cat "$block/size")))
    for other in "/sys/class/block/$disk"/*/start; do
        [ "$(cat "$other")" -lt "$end" ] || return 0
    done
    # In sectors; 4 MiB are not worth a write.
    [ $(($(cat "/sys/class/block/$disk/size") - end)) -gt 8192 ] || return 0
    say "growing the data partition to the end of $disk"
    echo ', +' | sfdisk --quiet -N "$(cat "$block/partition")" "/dev/$disk" ||
        say "the data partition keeps its size: the partition table could not be written"
}

# The table is there twice. A cut while it was written leaves one of the two, which loaders and, with its argument
# `gpt`, the kernel take then; written again, it is there twice again.
mend_table() {
    case $(LC_ALL=C sfdisk --dump "/dev/$disk" 2>&1 >/dev/null) in
        *"GPT table is corrupt"*) ;;
        *) return ;;
    esac
    say "one of the two copies of the partition table is damaged: writing both"
    sfdisk --dump "/dev/$disk" 2>/dev/null | sfdisk --quiet "/dev/$disk" ||
        say "the partition table could not be written"
}

# Every medium that was written with one image has the same identity until its first start.
name_medium() {
    [ ! -e /sysroot/data/os/named ] || return 0
    number=$(cat "/sys/class/block/${device#/dev/}/partition")
    # The kernel cannot hear of it, and need not: this start goes by the name that the loader gave.
    uuid=$(cat /proc/sys/kernel/random/uuid)
    sfdisk --quiet --no-reread --force --part-uuid "/dev/$disk" "$number" "$uuid" 2>/dev/null || {
        say "the medium keeps its identity"
        return
    }
    mkdir -p /sysroot/data/os && touch /sysroot/data/os/named
}

prepare_data() {
    device=$(partition data)
    if [ -z "$device" ]; then
        say "there is no data partition on $disk: nothing can be kept, and the node does not start; see recovery"
        do_without missing
        return
    fi
    reset_asked_by_loader "$device"
    if ! check "$device" || ! mount_data; then
        say "the data partition $device cannot be repaired: the node does not start; see recovery"
        do_without damaged
        return
    fi
    reset_asked_by_system
    case $(blkid "$device") in *'TYPE="ext4"'*) grow_file_system ;; esac
    keep_ballast
    name_medium
    echo ok >/run/edgelet-os/data
}

mount_data() { mount -o noatime,nosuid,nodev "$device" /sysroot/data; }

# While it is mounted this is journalled. What the file system keeps back for itself it counts when it is mounted, by
# its size then: it is mounted anew, or a partition that is filled before the next start has no use of its ballast.
grow_file_system() {
    case $(resize2fs "$device" 2>&1) in
        *"Nothing to do"*) ;;
        *"is now"*) umount /sysroot/data && { mount_data || fail "the data partition cannot be mounted again"; } ;;
        *) say "data keeps its size" ;;
    esac
}

# A full partition must not keep the workloads from starting, and a start needs a few blocks: for a directory, for
# the node's and RAUC's notes. So 4 MiB are put aside while there is room, and given up for one start when there is none.
keep_ballast() {
    ballast=/sysroot/data/os/ballast
    available_kib=$(df -Pk /sysroot/data | tail -n 1 | tr -s ' ' | cut -d ' ' -f 4)
    # This process must not end, whatever it is told.
    case $available_kib in '' | *[!0-9]*) return ;; esac
    if [ "$available_kib" -lt 2048 ]; then
        what="nothing is put aside any more"
        [ ! -s "$ballast" ] || what="starting with the 4 MiB put aside for this"
        say "the data partition is full: $what; make room, see recovery"
        rm -f "$ballast" "$ballast.new"
    elif [ "$available_kib" -gt 16384 ] && [ ! -s "$ballast" ]; then
        mkdir -p /sysroot/data/os
        if dd if=/dev/zero of="$ballast.new" bs=1M count=4 2>/dev/null && sync; then
            mv "$ballast.new" "$ballast"
        else
            rm -f "$ballast.new"
        fi
    fi
}

do_without() {
    echo "$1" >/run/edgelet-os/data
    mount -t tmpfs -o size=1M,nosuid,nodev,mode=0755 tmpfs /sysroot/data
    mkdir -p /sysroot/data/rauc /sysroot/data/os
}

# Repairs what can be repaired. 0 and 1 of e2fsck are good ends.
check() {
    # It mends itself when it is mounted.
    case $(blkid "$1") in *'TYPE="f2fs"'*) return 0 ;; esac
    e2fsck -p "$1"
    [ $? -le 1 ] && return
    say "the data partition needs a thorough check, told in /run/edgelet-os/e2fsck.log;" \
        "files without a name go to lost+found"
    # It names each block, which would take minutes on a serial console, and in memory more than there may be.
    { e2fsck -f -y "$1" 2>&1; echo "$?" >/run/edgelet-os/e2fsck; } | tail -n 1000 >/run/edgelet-os/e2fsck.log
    tail -n 1 /run/edgelet-os/e2fsck.log
    [ "$(cat /run/edgelet-os/e2fsck)" -le 1 ]
}

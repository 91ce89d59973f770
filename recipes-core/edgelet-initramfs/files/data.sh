# The data partition: grown to the medium, checked, mounted at /sysroot/data. What became of it is left in
# /run/edgelet-os/data: ok, missing or damaged. It is never formatted but when somebody asked for it. Without
# it /data is memory, so that RAUC can still tell the loader that the slot is good.

# Gives the partition what is free behind it. The table has a second copy: a cut leaves one of the two whole.
grow_data() {
    device=$(partition data)
    [ -n "$device" ] || return 0
    block=/sys/class/block/${device#/dev/}
    end=$(($(cat "$block/start") + $(cat "$block/size")))
    # In sectors; 4 MiB are not worth a write.
    [ $(($(cat "/sys/class/block/$disk/size") - end)) -gt 8192 ] || return 0
    say "growing the data partition to the end of $disk"
    number=$(cat "$block/partition")
    echo ', +' | sfdisk --quiet -N "$number" "/dev/$disk" ||
        say "the data partition keeps its size: the partition table could not be written"
    # Every medium that was written with one image had the same identity until now.
    sfdisk --quiet --part-uuid "/dev/$disk" "$number" "$(cat /proc/sys/kernel/random/uuid)" || say "the medium keeps its identity"
}

prepare_data() {
    device=$(partition data)
    if [ -z "$device" ]; then
        say "there is no data partition on $disk: nothing can be kept, and the node does not start; see recovery"
        do_without missing
        return
    fi
    reset_asked_by_loader "$device"
    if ! check "$device" || ! mount -o noatime,nosuid,nodev "$device" /sysroot/data; then
        say "the data partition $device cannot be repaired: the node does not start; see recovery"
        do_without damaged
        return
    fi
    reset_asked_by_system
    # While it is mounted this is journalled; it does nothing when there is nothing to do.
    case $(blkid "$device") in *'TYPE="ext4"'*) resize2fs "$device" >/dev/null 2>&1 || say "data keeps its size" ;; esac
    echo ok >/run/edgelet-os/data
}

do_without() {
    echo "$1" >/run/edgelet-os/data
    mount -t tmpfs -o size=1M,nosuid,nodev,mode=0755 tmpfs /sysroot/data
    mkdir -p /sysroot/data/rauc /sysroot/data/os
}

# Repairs what can be repaired. 0 and 1 of e2fsck are good ends.
check() {
    case $(blkid "$1") in *'TYPE="f2fs"'*) fsck.f2fs -a "$1" >/dev/null; return ;; esac
    e2fsck -p "$1"
    [ $? -le 1 ] && return
    say "the data partition needs a thorough check; files without a name go to lost+found"
    e2fsck -f -y "$1"
    [ $? -le 1 ]
}

# The medium that we were started from, and its partitions by label. There is no udev here.
# Sets disk, the kernel's name of the medium.

# Waits until the medium is there: SD cards and USB take seconds to appear.
find_disk() {
    tries=0
    until disk=$(disk_of "$1") && [ -n "$disk" ]; do
        tries=$((tries + 1))
        [ "$tries" -lt 300 ] || fail "no medium with a partition $1 appeared within 30 s"
        sleep 0.1
    done
    # By it the system knows this medium's partitions from those of a second one that was written with the same image.
    echo "$disk" >/run/edgelet-os/disk
}

# The medium with a partition LABEL. The loader says which one it read from, by the identity of the data
# partition on it; when it cannot say, the first one is taken.
disk_of() {
    identity=$(parameter edgelet.medium)
    for block in /sys/block/*; do
        name=${block##*/}
        [ -n "$(partition_of "$name" "$1")" ] || continue
        [ -z "$identity" ] || [ "$(identity_of "$name")" = "$identity" ] || continue
        echo "$name"
        return
    done
}

# From the partition table itself: kernels before 6.13 do not tell it.
identity_of() {
    number=$(cat "/sys/class/block/$(basename "$(partition_of "$1" data)")/partition")
    sfdisk --part-uuid "/dev/$1" "$number" | tr '[:upper:]' '[:lower:]'
}

# The device of partition LABEL on our medium; empty when there is none.
partition() { partition_of "$disk" "$1"; }

partition_of() {
    for uevent in "/sys/class/block/$1"/*/uevent; do
        grep -qx "PARTNAME=$2" "$uevent" 2>/dev/null || continue
        name=${uevent%/uevent}
        echo "/dev/${name##*/}"
        return
    done
}

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

# The medium of partition LABEL. The loader says by the identity of its own partition which one it read from;
# a loader that does not say gets the first.
disk_of() {
    identity=$(parameter edgelet.boot)
    for uevent in /sys/class/block/*/uevent; do
        if [ -n "$identity" ]; then
            grep -qix "PARTUUID=$identity" "$uevent" || continue
        else
            grep -qx "PARTNAME=$1" "$uevent" || continue
        fi
        whole=$(readlink -f "${uevent%/uevent}/..")
        [ -n "$(partition_of "${whole##*/}" "$1")" ] && echo "${whole##*/}" && return
    done
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

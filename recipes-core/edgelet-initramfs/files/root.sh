# The root file system: a squashfs that is checked against the hash that came with the kernel.

# A wrong block stops the machine, and the loader counts: better than a program that runs on wrong bytes.
open_root() {
    device=$(partition "$1")
    [ -n "$device" ] || fail "partition $1 is missing on $disk"
    hash=$(parameter edgelet.roothash)
    offset=$(parameter edgelet.hashoffset)
    [ -n "$hash$offset" ] || fail "the loader passed no edgelet.roothash and no edgelet.hashoffset"
    veritysetup open --panic-on-corruption --hash-offset="$offset" "$device" root "$device" "$hash" ||
        fail "$1 is not what belongs to its kernel: verification failed"
    mount -t squashfs -o ro /dev/mapper/root /sysroot || fail "$1 holds no file system that can be mounted"
}

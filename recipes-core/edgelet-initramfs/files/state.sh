# What outlives a boot: places of the read-only root that show directories of the data partition, and /var,
# which is the root's with memory on top.

bind_state() {
    mount_var
    [ "$(cat /run/edgelet-os/data)" = ok ] || return 0
    name_device
    seed etc/edgelet
    show edgelet var/lib/edgelet 0700
    show log/edgelet var/log/edgelet 0755
    show systemd/timesync var/lib/systemd/timesync 0755
    show_file systemd/random-seed var/lib/systemd/random-seed
    show etc/edgelet etc/edgelet 0755
    # In images that have it.
    [ ! -d /sysroot/etc/dropbear ] || show identity/ssh etc/dropbear 0700
    mkdir -p /sysroot/data/rauc /sysroot/data/os
}

mount_var() {
    mkdir -p /run/edgelet-os/var/upper /run/edgelet-os/var/work
    mount -t overlay -o lowerdir=/sysroot/var,upperdir=/run/edgelet-os/var/upper,workdir=/run/edgelet-os/var/work \
        overlay /sysroot/var
    # It is what this root ships: else the system brings it up to date at each start, as if it were new.
    touch -r /sysroot/usr /sysroot/var/.updated
}

# Shows directory $1 of the data partition at $2 of the root.
show() {
    if [ ! -d "/sysroot/data/$1" ]; then
        mkdir -p "/sysroot/data/$1"
        chmod "$3" "/sysroot/data/$1"
    fi
    # In /var only; elsewhere the root has it.
    [ -d "/sysroot/$2" ] || mkdir -p "/sysroot/$2"
    bind "$1" "$2"
}

# The same for a file; one that is not there yet begins empty.
show_file() {
    mkdir -p "/sysroot/data/${1%/*}" "/sysroot/${2%/*}"
    [ -e "/sysroot/data/$1" ] || (umask 077 && : >"/sysroot/data/$1")
    # Not by a redirection: one that fails ends this shell.
    [ -e "/sysroot/$2" ] || touch "/sysroot/$2"
    bind "$1" "$2"
}

# The first boot starts from what the system ships. Complete under its name, or not there.
seed() {
    [ ! -e "/sysroot/data/$1" ] || return 0
    mkdir -p "/sysroot/data/${1%/*}"
    rm -rf "/sysroot/data/$1.new"
    if cp -a "/sysroot/$1" "/sysroot/data/$1.new" && sync; then
        mv "/sysroot/data/$1.new" "/sysroot/data/$1"
    else
        say "/data/$1 cannot be made; it is tried again at the next start"
        rm -rf "/sysroot/data/$1.new"
    fi
}

# Who this device is: made once, at random, before anything asks for it.
name_device() {
    mkdir -p /sysroot/data/identity
    keep machine-id "$(tr -d - </proc/sys/kernel/random/uuid)"
    [ ! -s /sysroot/data/identity/machine-id ] || keep hostname "edgelet-$(cut -c 1-8 /sysroot/data/identity/machine-id)"
}

keep() {
    file=/sysroot/data/identity/$1
    if [ ! -s "$file" ]; then
        # Not by a redirection, as above. Without the file the root's own is seen, which is empty.
        echo "$2" | dd of="$file.new" 2>/dev/null && sync && [ -s "$file.new" ] && mv "$file.new" "$file"
    fi
    bind "identity/$1" "etc/$1"
}

# What cannot be shown is missed by one program; without the rest nobody could look into it.
bind() { mount --bind "/sysroot/data/$1" "/sysroot/$2" || say "cannot show /data/$1 at /$2"; }

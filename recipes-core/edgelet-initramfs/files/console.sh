# Words for people at the console and for the kernel's log, and the way out when nothing else is left.

say() { echo "<5>edgelet-os: $*" >/dev/kmsg; echo "edgelet-os: $*" >/dev/console; }

# Says why and starts the machine again: the loader counts the attempt.
fail() {
    say "$*"
    say "starting again in 10 s; the loader tries the other slot when this one has used up its attempts"
    sleep 10
    reboot -f
}

# The value of a parameter on the kernel's command line; empty when it is not there.
parameter() {
    # shellcheck disable=SC2013 # words, not lines, on purpose
    for word in $(cat /proc/cmdline); do
        case $word in "$1="*) echo "${word#*=}"; return ;; esac
    done
}

# What the kernel does not have built in, a path in each line, in the order of need.
load_modules() {
    [ -f /etc/modules ] || return 0
    while read -r module; do insmod "$module" || say "cannot load $module"; done </etc/modules
}

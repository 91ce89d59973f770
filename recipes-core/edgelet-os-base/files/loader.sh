# The loader's variables, for the programs beside this file. Besides RAUC's there is one of ours: pending, the slot
# that an update wrote and that has not proven itself. The loader passes it on as edgelet.pending=1, so that it is
# known without the data partition, and no factory reset takes it away.

GRUB_VARIABLES=/boot/EFI/BOOT/grubenv

running_slot() { sed -n 's/.*\brauc\.slot=\([AB]\).*/\1/p' /proc/cmdline; }

other_slot() { if [ "$(running_slot)" = A ]; then echo B; else echo A; fi; }

first_in_order() {
    if is_uboot; then loader_get BOOT_ORDER; else loader_get ORDER; fi | cut -c 1
}

# How often the loader may still start slot $1 before it is marked good, of three times.
attempts() {
    if is_uboot; then loader_get "BOOT_$1_LEFT"; else
        tried=$(loader_get "$1_TRY")
        echo $((3 - ${tried:-0}))
    fi
}

set_attempts() {
    if is_uboot; then loader_set "BOOT_$1_LEFT" "$2"; else loader_set "$1_TRY" $((3 - $2)); fi
}

is_pending() { grep -qw 'edgelet\.pending=1' /proc/cmdline; }

is_uboot() { [ -e /etc/fw_env.config ]; }

# Empty when there is no such variable.
loader_get() {
    if is_uboot; then
        fw_printenv -n "$1" 2>/dev/null || true
    else
        grub-editenv $GRUB_VARIABLES list | sed -n "s/^$1=//p"
    fi
}

loader_set() {
    if is_uboot; then fw_setenv "$1" "$2"; else grub-editenv $GRUB_VARIABLES set "$1=$2"; fi
}

# U-Boot keeps its variables twice by itself. For GRUB grub-editenv empties the file before it writes it, and a cut in
# between leaves nothing: so there is a second one, which GRUB takes when it cannot read the first.
mend_variables() {
    is_uboot && return
    if are_whole $GRUB_VARIABLES; then
        copy_variables $GRUB_VARIABLES $GRUB_VARIABLES.2
    elif are_whole $GRUB_VARIABLES.2; then
        echo "the loader's variables were damaged; they are as at the last start"
        copy_variables $GRUB_VARIABLES.2 $GRUB_VARIABLES
    else
        echo "the loader's variables were damaged; they are new, and this slot comes first"
        grub-editenv $GRUB_VARIABLES create
        grub-editenv $GRUB_VARIABLES set "ORDER=$(running_slot) $(other_slot)" A_OK=1 A_TRY=0 B_OK=1 B_TRY=0 rounds=0
    fi
}

are_whole() { grub-editenv "$1" list 2>/dev/null | grep -q '^ORDER='; }

# Over what is there: a file that is emptied first is what a cut leaves empty.
copy_variables() { cmp -s "$1" "$2" || { cat "$1" 1<>"$2" && sync "$2"; }; }

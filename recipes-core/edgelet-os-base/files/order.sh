# What becomes of the order of slots when a slot runs that need not prove itself, for the program beside this file.

# There when the first slot in order was given one more attempt.
TRIED_AGAIN=/data/os/tried-again

# After attempts that failed the other slot may still be the first in order.
settle_order() {
    if nothing_was_written; then
        loader_set pending ''
        rm -rf "$BEFORE"
    fi
    first=$(first_in_order)
    if [ "$first" = "$slot" ]; then
        rm -f $TRIED_AGAIN
    elif [ "$(attempts "$first")" != 0 ]; then
        : # a person chose this one, or the other could not be loaded this time
    elif [ -n "$(loader_get pending)" ]; then
        # It was refused, and would be started when this one runs out of attempts.
        rauc status mark-active booted
    elif [ -e $TRIED_AGAIN ]; then
        echo "slot $first comes first, but did not become good again: slot $slot stays"
    else
        # It was good once: the power may have failed three times in a row.
        echo "slot $first comes first, but did not become good in three starts: it is tried once more at the next"
        touch $TRIED_AGAIN && sync $TRIED_AGAIN && set_attempts "$first" 1
    fi
}

# RAUC refuses some bundles only after the other slot was said to be a new one.
nothing_was_written() { [ -e "$BEFORE/slots" ] && [ "$(slot_status)" = "$(cat "$BEFORE/slots")" ]; }

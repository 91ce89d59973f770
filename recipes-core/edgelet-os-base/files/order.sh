# What becomes of the order of slots when a slot runs that need not prove itself, for the programs beside this file.

# There when the first slot in order was given one more attempt.
TRIED_AGAIN=/data/os/tried-again

# After attempts that failed the other slot may still be the first in order.
settle_order() {
    forget_unwritten
    first=$(first_in_order)
    if [ "$first" = "$slot" ]; then
        forget_second_try
    elif [ "$(attempts "$first")" != 0 ]; then
        : # a person chose this one, or the other could not be loaded this time
    elif [ -n "$(loader_get pending)" ]; then
        # It would be started when this one runs out of attempts.
        echo "slot $first was refused, or did not come up in three starts: slot $slot comes first now"
        rauc status mark-active booted
    elif [ -e $TRIED_AGAIN ]; then
        echo "slot $first comes first, but did not become good again: slot $slot stays"
    elif data_can_be_written && set_attempts "$first" 1; then
        # It was good once: the power may have failed three times in a row. The note comes last: a cut before it costs
        # one attempt too many, and not one too few.
        echo "slot $first comes first, but did not become good in three starts: it is tried once more at the next"
        touch $TRIED_AGAIN && sync $TRIED_AGAIN
    fi
}

# A note that is there again after a cut would count.
forget_second_try() { [ ! -e $TRIED_AGAIN ] || { rm $TRIED_AGAIN && sync /data/os; }; }

# RAUC refuses some bundles only after the other slot was said to be a new one. Where it went so far as to mark the
# slot bad, it stays so until an installation: RAUC's note of what it wrote may be younger than the writing.
forget_unwritten() {
    if [ -e "$BEFORE/slots" ] && [ "$(slot_status)" = "$(cat "$BEFORE/slots")" ]; then
        loader_set pending '' && rm -rf "$BEFORE"
    fi
}

# What is true of the system that runs, for the programs beside this file.

# The loader was told that the slot which runs is good.
GOOD=/run/edgelet-os/good
# What was true before an update, so that the new slot is judged by what it changed. There until it is believed.
BEFORE=/data/os/before-update

data_is_there() { [ "$(cat /run/edgelet-os/data)" = ok ]; }
data_can_be_written() { data_is_there && touch /data/os/.probe && rm /data/os/.probe; }

# One each line.
failed_units() {
    units=$(systemctl --failed --plain --no-legend) || return
    [ -z "$units" ] || echo "$units" | cut -d ' ' -f 1
}

# Their number; nothing when the node does not answer.
running_workloads() {
    edgelet -o json --timeout 10s system status | sed -n 's/.*"runningMicroservices": *"\([0-9]*\)".*/\1/p'
}

# Without a note nothing is excused, and no workload expected. What is not known now stays as it was noted before.
note_before_update() {
    mkdir -p "$BEFORE" && failed_units >"$BEFORE/new" && mv "$BEFORE/new" "$BEFORE/failed" &&
        running_workloads >"$BEFORE/new" && [ -s "$BEFORE/new" ] && mv "$BEFORE/new" "$BEFORE/running"
}

# What RAUC has noted of the slots; it does so before it writes to one.
slot_status() { grep -Ev '^(\[system\]|boot-id=|$)' /data/rauc/central.raucs 2>/dev/null || true; }

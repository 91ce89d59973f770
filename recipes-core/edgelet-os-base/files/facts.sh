# What is true of the system that runs, for the programs beside this file.

# The loader was told that the slot which runs is good.
GOOD=/run/edgelet-os/good
# What was true before an update, so that the new slot is judged by what it changed.
BEFORE=/data/os/before-update

data_is_there() { [ "$(cat /run/edgelet-os/data)" = ok ]; }

# One each line, without those that had failed before the update.
failed_units() {
    systemctl --failed --plain --no-legend | cut -d ' ' -f 1 | while read -r unit; do
        grep -qxF "$unit" "$BEFORE/failed" 2>/dev/null || echo "$unit"
    done
}

# Their number; nothing when the node does not answer.
running_workloads() {
    edgelet -o json --timeout 10s system status | sed -n 's/.*"runningMicroservices": *"\([0-9]*\)".*/\1/p'
}

# An update must not fail for a note that cannot be taken: without it nothing is excused, and no workload expected.
note_before_update() {
    rm -rf "$BEFORE"
    mkdir -p "$BEFORE" && failed_units >"$BEFORE/failed" && running_workloads >"$BEFORE/running"
}

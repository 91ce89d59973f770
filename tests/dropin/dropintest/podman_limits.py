"""What a container under podman may use, and what it is told to use."""

import json
import re
import time

from .cases import case
from .doing import between, holds, same, wait_for
from .kernel import group_file, has_limits, status_field
from .place import IMAGE, UNIFIED
from .podman import attempt, inspect, podman, sh, start, state, tried


@case
def limits_are_in_the_control_group() -> None:
    pid = start("--memory", "64m", "--memory-reservation", "32m", "--cpus", "0.5", "--cpu-shares", "512",
                "--pids-limit", "77", "--cpuset-cpus", "0", IMAGE, "sleep", "1000")
    has_limits(pid, memory=64 << 20, quota=50000, processors="0")
    same(status_field(pid, "Cpus_allowed_list"), "0", "processors")
    same(group_file(pid, "memory", "memory.soft_limit_in_bytes", "memory.low"), str(32 << 20), "reserved memory")
    same(group_file(pid, "pids", "pids.max", "pids.max"), "77", "processes")
    # Version 2 counts from 1 to 10000, and there is more than one way from the older range to it.
    same(group_file(pid, "cpu", "cpu.shares", "cpu.weight") in (["20", "59"] if UNIFIED else ["512"]), True, "shares")


@case
def update_changes_limits() -> None:
    pid = start("--memory", "64m", "--pids-limit", "77", IMAGE, "sleep", "1000")
    podman("update", "--memory", "96m", "--cpus", "1.5", "--cpuset-cpus", "0", "c")
    has_limits(pid, memory=96 << 20, quota=150000, processors="0")
    same(group_file(pid, "pids", "pids.max", "pids.max"), "77", "processes")


@case
def memory_over_the_limit_ends_the_program() -> None:
    script = "dd if=/dev/zero of=/dev/null bs=200M count=1; code=$?; sleep 0.5; exit $code"
    podman("create", "--name", "c", "--network", "none", "--memory", "32m", "--memory-swap", "32m", *sh(script))
    # conmon leaves word of it where it was started, and podman 4.3 looks here.
    podman("start", "c", cwd=inspect()["StaticDir"])
    same(podman("wait", "c"), "137", "exit code")
    same(state()["OOMKilled"], True, "killed for its memory")


@case
def processors_over_the_quota_are_not_given() -> None:
    pid = start("--cpus", "0.3", *sh("while :; do :; done"))

    def used() -> float:
        if UNIFIED:
            return int(re.findall(r"usage_usec (\d+)", group_file(pid, "", "", "cpu.stat"))[0]) / 1e6
        return int(group_file(pid, "cpuacct", "cpuacct.usage", "")) / 1e9

    started, before = time.monotonic(), used()
    time.sleep(2)
    between((used() - before) / (time.monotonic() - started), 0.02, 0.4, "share of a processor")
    throttled = re.findall(r"nr_throttled (\d+)", group_file(pid, "cpu", "cpu.stat", "cpu.stat"))
    same(int(throttled[0]) > 0, True, "throttled")


@case
def processes_over_the_limit_are_not_made() -> None:
    done = tried("--pids-limit", "5", *sh("for i in 1 2 3 4 5 6 7 8; do sleep 1 & done; wait"))
    same(done.code != 0, True, "more than the limit")
    holds(done.err, "can't fork")


@case
def stats_and_top_tell_what_is_used() -> None:
    script = "held=$(head -c 30000000 /dev/zero | tr '\\0' x); sleep 1000 & sleep 1001 & wait"
    pid = start("--memory", "200m", *sh(script))
    wait_for("three processes", lambda: group_file(pid, "pids", "pids.current", "pids.current") == "3")
    row = json.loads(podman("stats", "--no-stream", "--format", "json", "c"))[0]
    used, limit = map(_bytes, row["mem_usage"].split("/"))
    between(used, 30e6, 150e6, "memory used")
    between(limit, 209e6, 210e6, "limit of memory")
    same(row["pids"], "3", "processes")
    top = podman("top", "c", "pid", "user", "args").splitlines()
    same([line.split()[2] for line in top[1:]], ["sh", "sleep", "sleep"], "programs")
    holds(podman("top", "c", "-ef"), "sleep 1001")


def _bytes(text: str) -> float:
    """Bytes of `1.5MB` or `1.4MiB`."""
    number, unit, step = re.findall(r"([0-9.]+)([kMG]?)(i?)B", text.strip())[0]
    return float(number) * (1024 if step else 1000) ** " kMG".index(unit or " ")


@case
def health_checks_are_executions() -> None:
    # Without an interval no service manager is asked to run them.
    checked = ["--health-interval", "disable", "--health-retries", "1"]
    start("--health-cmd", "test -e /healthy", *checked, IMAGE, "sleep", "1000")
    podman("healthcheck", "run", "c", code=1)
    same(state()["Health"]["Status"], "unhealthy", "health")
    podman("exec", "c", "touch", "/healthy")
    podman("healthcheck", "run", "c")
    same(state()["Health"]["Status"], "healthy", "health")
    start("--health-cmd", "false", *checked, "--health-on-failure", "kill", IMAGE, "sleep", "1000", name="d")
    attempt("healthcheck", "run", "d")
    wait_for("its end", lambda: state("d")["Status"] == "exited")
    same(state("d")["ExitCode"], 137, "exit code")

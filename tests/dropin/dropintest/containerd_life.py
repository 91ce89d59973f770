"""The life of a container under containerd, and what it may use."""

import json
import os
import pathlib
import subprocess
import time
from typing import Any

from .cases import case
from .containerd import (
    RUNTIME, SOCKET, attempt, ctr, logged, once, start, start_daemon, status, stop_daemon)
from .doing import Terminal, between, holds, same, together, wait_for
from .kernel import capabilities, group_file, has_limits
from .place import IMAGE, UNIFIED, WORK
from .podman import sh


@case
def run_passes_input_output_and_exit_code_on() -> None:
    same(once(*sh("echo out; exit 7"), code=7), "out", "output")
    script = "echo $OWN $FROM_IMAGE; pwd"
    same(once("--env", "OWN=1", "--cwd", "/data", *sh(script)), "1 yes\n/data", "environment and directory")
    same(once(*sh("read line; echo got $line"), stdin="word\n"), "got word", "input")
    once(*sh("sh -c 'kill -TERM $$'; exit $?"), code=143)


@case
def run_tells_why_a_program_does_not_start() -> None:
    reasons = {"/no/such": "/no/such", "such-a-name": "such-a-name", "/data/file": "ermission denied"}
    for program, reason in reasons.items():
        done = attempt("run", "--rm", *RUNTIME, IMAGE, "c", program)
        same(done.code != 0, True, f"{program} was started")
        holds(done.err, reason)
    same(ctr("container", "ls", "-q"), "", "containers")


@case
def run_gives_a_terminal_that_follows_its_caller() -> None:
    script = "until [ \"$(stty size)\" = '33 97' ]; do sleep 0.1; done; tty; read line; echo got $line; " \
        "until [ \"$(stty size)\" = '44 111' ]; do sleep 0.1; done; exit 5"
    command = ["ctr", "--address", SOCKET, "run", "--rm", "--tty", *RUNTIME, IMAGE, "c", "sh", "-c", script]
    terminal = Terminal(command, 33, 97)
    terminal.expect("/dev/pts/0")
    terminal.type("word\n")
    terminal.expect("got word")
    # It follows only some time after it has set the first size.
    time.sleep(0.3)
    terminal.resize(44, 111)
    same(terminal.end(), 5, "exit code")


@case
def exec_runs_programs_beside_the_first() -> None:
    start("--env", "OWN=1", IMAGE, "sleep", "1000")
    same(_exec("sh", "-c", "echo $OWN; exit 9", code=9), "1", "exec")
    same(_exec("sh", "-c", "id -u; pwd", options=["--user", "user", "--cwd", "/data"]), "1000\n/data", "user")
    same(_exec("cat", stdin="given\n"), "given", "input")
    holds(attempt("task", "exec", "--exec-id", "e", "c", "/no/such").err, "/no/such")
    _exec("touch", "/made", options=["--detach"])
    wait_for("a detached exec",
             lambda: attempt("task", "exec", "--exec-id", "f", "c", "test", "-e", "/made").code == 0)


def _exec(*words: str, options: list[str] | None = None, **more: Any) -> str:
    return ctr("task", "exec", "--exec-id", "e", *(options or []), "c", *words, **more)


@case
def exec_gives_a_terminal_of_its_own() -> None:
    start(IMAGE, "sleep", "1000")
    script = "until [ \"$(stty size)\" = '33 97' ]; do sleep 0.1; done; tty; read line; echo got $line; exit 6"
    command = ["ctr", "--address", SOCKET, "task", "exec", "--tty", "--exec-id", "e", "c", "sh", "-c", script]
    terminal = Terminal(command, 33, 97)
    terminal.expect("/dev/pts/0")
    terminal.type("word\n")
    terminal.expect("got word")
    same(terminal.end(), 6, "exit code")


@case
def start_starts_anew() -> None:
    start(IMAGE, "sleep", "1000")
    for _ in range(2):
        same(status(), "RUNNING", "status")
        ctr("task", "kill", "--signal", "KILL", "c")
        wait_for("its end", lambda: status() == "STOPPED")
        holds(attempt("task", "rm", "c").err, "exit code 137")
        same(status(), "none", "status")
        ctr("task", "start", "--detach", "c")


@case
def kill_sends_signals() -> None:
    start(*sh("trap 'echo usr' USR1; trap 'echo told; exit 3' TERM; echo ready; while :; do sleep 0.1; done"))
    wait_for("the traps", lambda: logged() == "ready")
    ctr("task", "kill", "--signal", "SIGUSR1", "c")
    wait_for("the first signal", lambda: logged() == "ready\nusr")
    ctr("task", "kill", "c")
    wait_for("its end", lambda: status() == "STOPPED")
    same(logged(), "ready\nusr\ntold", "output")
    holds(attempt("task", "rm", "c").err, "exit code 3")


@case
def kill_reaches_an_exec_or_all() -> None:
    start("--with-ns", "pid:/proc/self/ns/pid", *sh("sleep 1001 & sleep 1002 & wait"))
    wait_for("its programs", lambda: _processes() == 3)
    _exec("sleep", "1003", options=["--detach"])
    same(_processes(), 4, "processes with an exec")
    ctr("task", "kill", "--exec-id", "e", "--signal", "KILL", "c")
    wait_for("the end of the exec", lambda: _processes() == 3)
    ctr("task", "kill", "--all", "--signal", "KILL", "c")
    wait_for("the end of all", lambda: status() == "STOPPED")


def _processes() -> int:
    return len(ctr("task", "ps", "c").splitlines()) - 1


@case
def pause_stops_the_clock() -> None:
    count = WORK / "c.log"
    start(*sh("while :; do echo x; sleep 0.05; done"))
    wait_for("work", logged)
    ctr("task", "pause", "c")
    same(status(), "PAUSED", "status")
    time.sleep(0.2)
    first = count.stat().st_size
    time.sleep(0.5)
    same(count.stat().st_size, first, "work done while paused")
    ctr("task", "resume", "c")
    same(status(), "RUNNING", "status")
    wait_for("work again", lambda: count.stat().st_size > first)


@case
def metrics_and_ps_tell_what_is_used() -> None:
    script = "dd if=/dev/zero of=/tmp/file bs=1M count=30; sleep 1000 & sleep 1001 & wait"
    pid = start("--memory-limit", str(100 << 20), "--mount", "type=tmpfs,dst=/tmp", *sh(script))
    wait_for("three processes", lambda: group_file(pid, "pids", "pids.current", "pids.current") == "3")
    facts = json.loads(ctr("task", "metrics", "--format", "json", "c"))
    memory = facts["memory"]["usage"] if UNIFIED else facts["memory"]["usage"]["usage"]
    between(memory, 30 << 20, 50 << 20, "memory used")
    same(facts["pids"]["current"], 3, "processes")
    same(_processes(), 3, "processes")
    same(ctr("task", "ps", "c").splitlines()[1].split()[0], str(pid), "first process")


@case
def limits_are_in_the_control_group() -> None:
    pid = start("--memory-limit", str(64 << 20), "--cpus", "0.5", "--cpu-shares", "512", IMAGE, "sleep", "1000")
    has_limits(pid, memory=64 << 20, quota=50000)
    same(group_file(pid, "cpu", "cpu.shares", "cpu.weight") in (["20", "59"] if UNIFIED else ["512"]), True, "shares")


@case
def memory_over_the_limit_ends_the_program() -> None:
    events = WORK / "events"
    with open(events, "w") as file:
        watcher = subprocess.Popen(["ctr", "--address", SOCKET, "events"], stdout=file)
    try:
        script = "dd if=/dev/zero of=/dev/null bs=200M count=1; code=$?; sleep 0.5; exit $code"
        wait_for("a watcher", lambda: ctr("run", "--rm", *RUNTIME, IMAGE, "c", "true") or events.stat().st_size)
        once("--memory-limit", str(32 << 20), *sh(script), code=137)
        wait_for("word of it", lambda: "/tasks/oom" in events.read_text())
    finally:
        watcher.terminate()
        watcher.wait()


@case
def options_of_files_are_in_force() -> None:
    place = WORK / "bound"
    place.mkdir()
    (place / "file").write_text("of the machine\n")
    bind = f"type=bind,src={place},dst=/v,options=rbind:ro"
    script = "cat /v/file; touch /v/x 2>&1; true"
    same(once("--mount", bind, *sh(script)), "of the machine\ntouch: /v/x: Read-only file system", "a volume")
    holds(once("--read-only", *sh("touch /x 2>&1; true")), "Read-only file system")
    same(once("--device", "/dev/full", *sh("test -c /dev/full && echo there")), "there", "a device")
    text = ctr("run", "--rm", *RUNTIME, "--rootfs", f"{WORK}/rootfs", "c", "/bin/cat", "/data/file")
    same(text, "of the image", "a root")


@case
def options_of_rights_are_in_force() -> None:
    effective = sh("grep CapEff /proc/self/status | cut -f2")
    same(int(once("--privileged", *effective), 16), capabilities("self"), "all capabilities")
    some = int(once("--cap-drop", "CAP_CHOWN", "--cap-add", "CAP_SYS_ADMIN", *effective), 16)
    same((some & 1, some >> 21 & 1), (0, 1), "capabilities")
    script = sh("grep -E '^(Seccomp|NoNewPrivs):' /proc/self/status | cut -f2")
    same(once("--seccomp", *script), "1\n2", "filter")
    same(once("--allow-new-privs", *script), "0\n0", "no filter")
    for options, name in [(["--net-host"], "net"), (["--with-ns", "uts:/proc/self/ns/uts"], "uts")]:
        same(once(*options, *sh(f"readlink /proc/self/ns/{name}")), os.readlink(f"/proc/self/ns/{name}"), name)
    # Here the client forgets --runc-binary, and the daemon starts what it finds by the name of runc.
    maps = ["--uidmap", "0:100000:65536", "--gidmap", "0:200000:65536"]
    text = once(*maps, *sh("cat /proc/self/uid_map; touch /own; stat -c %u /own /data/file"))
    same(text.split(), ["0", "100000", "65536", "0", "0"], "a user namespace")


@case
def the_daemon_finds_its_containers_again() -> None:
    pid = start(IMAGE, "sleep", "1000")
    stop_daemon()
    same(pathlib.Path(f"/proc/{pid}").exists(), True, "its container lives")
    start_daemon()
    same(status(), "RUNNING", "status")
    same(_exec("echo", "there"), "there", "exec")
    ctr("task", "kill", "--signal", "KILL", "c")
    wait_for("its end", lambda: status() == "STOPPED")


@case
def what_a_killed_shim_leaves_is_cleaned_up() -> None:
    pid = start(IMAGE, "sleep", "1000")
    shim = pathlib.Path(f"/proc/{pid}/status").read_text().split("PPid:\t")[1].split()[0]
    subprocess.run(["kill", "-KILL", shim], check=True)
    wait_for("its end", lambda: not pathlib.Path(f"/proc/{pid}").exists())
    wait_for("word of it", lambda: status() in ["none", "STOPPED"])


@case
def many_at_once_do_not_disturb_each_other() -> None:
    run = ["ctr", "--address", SOCKET, "run", "--rm", *RUNTIME, IMAGE]
    commands = [[*run, f"c{code}", "sh", "-c", f"exit {code}"] for code in range(8)]
    same(together(commands), list(range(8)), "exit codes of containers")

"""The life of a container under podman, and programs that are run in it."""

import pathlib
import signal
import subprocess
import time

from .cases import case
from .doing import Outcome, Terminal, between, holds, output, same, together, wait_for
from .place import IMAGE, PROGRAM
from .podman import attempt, inspect, once, podman, sh, start, state, tried, wait_for_log


@case
def run_passes_input_output_and_exit_code_on() -> None:
    same(tried(*sh("echo out; echo err >&2; exit 7")), Outcome(7, "out\n", "err\n"), "run")
    same(once("-i", IMAGE, "cat", stdin="given\n"), "given", "input")
    script = "echo $OWN $FROM_IMAGE; pwd"
    same(once("--env", "OWN=1", "--workdir", "/data", *sh(script)), "1 yes\n/data", "environment and directory")
    same(once("--hostname", "named", IMAGE, "hostname"), "named", "host name")
    same(once("--entrypoint", "echo", IMAGE, "a", "b"), "a b", "entry point")


@case
def run_tells_the_signal_that_ended_the_program() -> None:
    # Among the processes of the machine a program may kill itself: it is not the first of its namespace.
    for number in ["KILL", "TERM", "SEGV"]:
        once("--pid", "host", *sh(f"kill -{number} $$"), code=128 + signal.Signals[f"SIG{number}"])


@case
def run_tells_why_a_program_does_not_start() -> None:
    for program, code in [("/no/such", 127), ("such-a-name", 127), ("/data", 126), ("/data/file", 126)]:
        done = tried(IMAGE, program)
        same(done.code, code, f"exit code of {program}: {done.err}")
        holds(done.err, program if code == 127 else "OCI permission denied")
    same(podman("ps", "--all", "--quiet"), "", "containers")


@case
def run_passes_signals_of_its_caller_on() -> None:
    script = "trap 'echo told; exit 5' TERM; echo ready; while :; do sleep 0.1; done"
    caller = subprocess.Popen(
        ["podman", "run", "--name", "c", "--network", "none", *sh(script)], stdout=subprocess.PIPE, text=True)
    try:
        wait_for("the container", lambda: attempt("container", "exists", "c").code == 0)
        wait_for_log("ready")
        caller.terminate()
        same(caller.communicate(timeout=30)[0], "ready\ntold\n", "output")
    finally:
        caller.kill()
        caller.wait()
    same(caller.returncode, 5, "exit code")


@case
def logs_of_a_detached_container_are_kept() -> None:
    start(*sh("echo one; echo two >&2; sleep 0.2; echo three"))
    same(podman("wait", "c"), "0", "exit code")
    done = attempt("logs", "c")
    same((done.out, done.err), ("one\nthree\n", "two\n"), "logs")
    same(podman("logs", "--tail", "1", "c"), "three", "last line")
    podman("run", "--name", "d", "--network", "none", *sh("head -c 3000000 /dev/zero | tr '\\0' x"))
    same(len(podman("logs", "d")), 3000000, "length of a long log")


@case
def exec_runs_programs_beside_the_first() -> None:
    start("--env", "OWN=1", IMAGE, "sleep", "1000")
    podman("exec", "c", "sh", "-c", "exit 9", code=9)
    podman("exec", "c", "sh", "-c", "kill -TERM $$", code=143)
    script = "echo $OWN $FROM_IMAGE; tr '\\0' ' ' </proc/1/cmdline"
    same(podman("exec", "c", "sh", "-c", script), "1 yes\nsleep 1000", "environment and first process")
    same(podman("exec", "--env", "OWN=2", "c", "sh", "-c", "echo $OWN"), "2", "environment")
    same(podman("exec", "--user", "user", "c", "id"), "uid=1000(user) gid=1000(user) groups=2000(more)", "user")
    same(podman("exec", "--user", "7:8", "c", "id"), "uid=7 gid=8", "user by numbers")
    same(podman("exec", "--workdir", "/data", "c", "pwd"), "/data", "directory")
    same(podman("exec", "-i", "c", "cat", stdin="given\n"), "given", "input")
    done = attempt("exec", "c", "sh", "-c", "echo out; echo err >&2")
    same((done.out, done.err), ("out\n", "err\n"), "output")
    holds(attempt("exec", "c", "/no/such").err, "/no/such")
    same(attempt("exec", "c", "/no/such").code, 127, "exit code without a program")
    same(attempt("exec", "c", "/data").code, 126, "exit code of a directory")
    podman("exec", "--detach", "c", "touch", "/made")
    wait_for("a detached exec", lambda: attempt("exec", "c", "test", "-e", "/made").code == 0)


@case
def exec_has_the_limits_of_its_container() -> None:
    start("--cap-drop", "ALL", "--security-opt", "no-new-privileges", IMAGE, "sleep", "1000")
    text = podman("exec", "c", "cat", "/proc/self/status")
    for line in ["CapEff:\t0000000000000000", "NoNewPrivs:\t1", "Seccomp:\t2"]:
        holds(text, line)
    first, own = podman("exec", "c", "cat", "/proc/1/cgroup"), podman("exec", "c", "cat", "/proc/self/cgroup")
    same(own, first, "control groups of an exec")
    text = podman("exec", "--privileged", "c", "cat", "/proc/self/status")
    same("CapEff:\t0000000000000000" in text, False, "a privileged exec has no capabilities")


@case
def run_gives_a_terminal_that_follows_its_caller() -> None:
    script = "tty; read line; echo got $line; until [ \"$(stty size)\" = '44 111' ]; do sleep 0.1; done; exit 5"
    terminal = Terminal(["podman", "run", "-it", "--rm", "--network", "none", *sh(f"stty size; {script}")], 33, 97)
    terminal.expect("/dev/pts/0")
    terminal.type("word\n")
    terminal.expect("got word")
    terminal.resize(44, 111)
    same(terminal.end(), 5, "exit code")
    # Its caller may have no terminal.
    same(once("-t", *sh("test -t 0 && test -t 2 && tty; ls -l /dev/console | cut -c1")), "/dev/pts/0\nc", "terminal")


@case
def exec_gives_a_terminal_of_its_own() -> None:
    start(IMAGE, "sleep", "1000")
    script = "until [ \"$(stty size)\" = '33 97' ]; do sleep 0.1; done; tty; read line; echo got $line; exit 6"
    terminal = Terminal(["podman", "exec", "-it", "c", "sh", "-c", script], 33, 97)
    terminal.expect("/dev/pts/0")
    terminal.type("word\n")
    terminal.expect("got word")
    same(terminal.end(), 6, "exit code")
    terminal = Terminal(["podman", "exec", "-it", "--user", "user", "c", "sh"], 24, 80)
    terminal.type("id -un; echo to >/dev/tty; sleep 1001\n")
    terminal.expect("user\r\nto")
    wait_for("the program to interrupt", lambda: "sleep 1001" in podman("top", "c", "args"))
    terminal.type("\x03")
    terminal.expect("$ ")
    terminal.type("exit 3\n")
    same(terminal.end(), 3, "exit code")


@case
def attach_joins_input_and_output() -> None:
    start("-i", *sh("read line; echo got $line; exit 4"))
    # With the end of the input it stops waiting, and does not know the exit code.
    same(podman("attach", "c", stdin="word\n"), "got word", "attach")
    same(podman("wait", "c"), "4", "exit code")
    same(podman("start", "--attach", "--interactive", "c", stdin="again\n", code=4), "got again", "start")


@case
def stop_asks_first_and_kills_later() -> None:
    start(*sh("trap 'echo told; exit 3' TERM; echo ready; while :; do sleep 0.1; done"))
    wait_for_log("ready")
    started = time.monotonic()
    podman("stop", "--time", "30", "c")
    between(time.monotonic() - started, 0, 15, "seconds to stop")
    same((state()["ExitCode"], podman("logs", "c").split()[-1]), (3, "told"), "a program that obeys")
    start(IMAGE, "sleep", "1000", name="d")
    started = time.monotonic()
    podman("stop", "--time", "2", "d")
    between(time.monotonic() - started, 2, 15, "seconds to stop")
    same((state("d")["ExitCode"], state("d")["Status"]), (137, "exited"), "a program that does not")
    start("--stop-signal", "USR1", *sh("trap 'exit 12' USR1; echo ready; while :; do sleep 0.1; done"), name="e")
    wait_for_log("ready", "e")
    podman("stop", "--time", "30", "e")
    same(state("e")["ExitCode"], 12, "exit code after a signal of its own")


@case
def kill_sends_signals_by_name_and_number() -> None:
    traps = "trap 'echo hup' HUP; trap 'echo usr' USR1; trap 'echo rt' 37"
    start(*sh(f"{traps}; echo ready; while :; do sleep 0.1; done"))
    wait_for_log("ready")
    for name, word in [("HUP", "hup"), ("SIGUSR1", "usr"), ("37", "rt")]:
        podman("kill", "--signal", name, "c")
        wait_for_log(word)
    podman("kill", "c")
    same(podman("wait", "c"), "137", "exit code")
    holds(attempt("kill", "c").err, "can only kill running containers")


@case
def pause_stops_the_clock() -> None:
    start(*sh("while :; do echo x >>/count; sleep 0.05; done"))
    count = pathlib.Path(podman("mount", "c"), "count")
    wait_for("work", count.exists)
    podman("pause", "c")
    same(state()["Status"], "paused", "state")
    first = count.stat().st_size
    time.sleep(0.5)
    same(count.stat().st_size, first, "work done while paused")
    same(attempt("exec", "c", "true").code != 0, True, "an exec while paused fails")
    podman("unpause", "c")
    wait_for("work again", lambda: count.stat().st_size > first)
    podman("pause", "c")
    podman("rm", "--force", "--time", "0", "c")


@case
def init_makes_a_container_that_start_starts() -> None:
    podman("create", "--name", "c", "--network", "none", *sh("echo started; sleep 1000"))
    podman("init", "c")
    same(state()["Status"], "initialized", "state")
    time.sleep(0.3)
    same(podman("logs", "c"), "", "logs")
    podman("start", "c")
    wait_for_log("started")
    podman("create", "--name", "d", "--network", "none", IMAGE, "true")
    podman("init", "d")
    podman("rm", "d")


@case
def restart_starts_anew() -> None:
    first = start(*sh("echo life; exec sleep 1000"))
    podman("restart", "--time", "0", "c")
    second = state()["Pid"]
    same(second in (first, 0), False, f"process {second} after {first}")
    wait_for_log("life\nlife")
    start("--restart", "on-failure:2", *sh("echo try; exit 1"), name="d")
    wait_for_log("try\ntry\ntry", "d")
    wait_for("its end", lambda: state("d")["Status"] == "exited")
    same(inspect("d")["RestartCount"], 2, "restarts")


@case
def rm_ends_what_runs() -> None:
    pid = start(IMAGE, "sleep", "1000")
    same(attempt("rm", "c").code != 0, True, "it may not be removed while it runs")
    podman("rm", "--force", "--time", "0", "c")
    same(pathlib.Path(f"/proc/{pid}").exists(), False, "its process lives")
    start("--rm", IMAGE, "sleep", "0.2")
    wait_for("its removal", lambda: podman("ps", "--all", "--quiet") == "")


@case
def inspect_tells_what_is_true() -> None:
    pid = start(IMAGE, "sleep", "1000")
    same(pathlib.Path(f"/proc/{pid}/cmdline").read_text(), "sleep\x001000\x00", "first process")
    facts = inspect()
    same((facts["State"]["Status"], facts["State"]["Running"]), ("running", True), "state")
    same(facts["OCIRuntime"], PROGRAM.name, "runtime")
    same(podman("ps", "--filter", "status=running", "--format", "{{.Names}}"), "c", "what runs")
    podman("kill", "c")
    wait_for("its end", lambda: state()["Status"] == "exited")
    same((state()["Pid"], state()["ExitCode"], state()["OOMKilled"]), (0, 137, False), "state")


@case
def a_container_without_its_monitor_can_be_ended() -> None:
    pid = start(IMAGE, "sleep", "1000")
    subprocess.run(["kill", "-KILL", str(state()["ConmonPid"])], check=True)
    same(podman("exec", "c", "echo", "there"), "there", "exec")
    podman("stop", "--time", "1", "c")
    wait_for("its end", lambda: not pathlib.Path(f"/proc/{pid}").exists())
    podman("rm", "--force", "c")
    # podman forgets it, and nobody asks the runtime to.
    for container in output([str(PROGRAM), "list", "-q"]).split():
        output([str(PROGRAM), "delete", "--force", container])


@case
def many_at_once_do_not_disturb_each_other() -> None:
    run = ["podman", "run", "--rm", "--network", "none", IMAGE, "sh", "-c"]
    same(together([[*run, f"exit {code}"] for code in range(8)]), list(range(8)), "exit codes of containers")
    start(IMAGE, "sleep", "1000")
    run = ["podman", "exec", "c", "sh", "-c"]
    same(together([[*run, f"exit {code}"] for code in range(12)]), list(range(12)), "exit codes of execs")

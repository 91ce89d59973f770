"""Running programs, and comparing what comes of it."""

import os
import pty
import select
import signal
import subprocess
import tempfile
import termios
import time
from collections.abc import Callable
from typing import Any, NamedTuple


class Failed(Exception):
    """What a case found wrong."""


class Skipped(Exception):
    """Why a case means nothing here."""


class Outcome(NamedTuple):
    code: int
    out: str
    err: str


def perform(command: list[str], stdin: str = "", timeout: float = 90, **more: Any) -> Outcome:
    # What stays in the background keeps a pipe for errors open, and would make us wait for it.
    with tempfile.TemporaryFile("w+") as errors:
        done = subprocess.run(
            command, input=stdin, stdout=subprocess.PIPE, stderr=errors, text=True, timeout=timeout, **more)
        errors.seek(0)
        return Outcome(done.returncode, done.stdout, errors.read())


def output(command: list[str], code: int = 0, **more: Any) -> str:
    """Standard output of a command that has to end with a code."""
    done = perform(command, **more)
    if done.code != code:
        raise Failed(f"{' '.join(command)}\nexit code {done.code}, not {code}\n{done.out}{done.err}".rstrip())
    return done.out.strip()


def together(commands: list[list[str]], seconds: float = 90) -> list[int]:
    """The exit codes of commands that run at the same time."""
    running = [subprocess.Popen(command, stdin=subprocess.DEVNULL) for command in commands]
    deadline = time.monotonic() + seconds
    try:
        return [command.wait(timeout=max(0, deadline - time.monotonic())) for command in running]
    finally:
        for command in running:
            command.kill()
            command.wait()


def first_line(command: list[str]) -> str:
    return output(command).splitlines()[0]


def same(got: Any, want: Any, what: str) -> None:
    if got != want:
        raise Failed(f"{what}: {got!r}, not {want!r}")


def holds(text: str, part: str) -> None:
    if part not in text:
        raise Failed(f"no {part!r} in:\n{text}")


def between(number: float, low: float, high: float, what: str) -> None:
    if not low <= number <= high:
        raise Failed(f"{what}: {number}, not between {low} and {high}")


def wait_for(what: str, ready: Callable[[], Any], seconds: float = 20) -> None:
    deadline = time.monotonic() + seconds
    while not ready():
        if time.monotonic() > deadline:
            raise Failed(f"waited {seconds} s: {what}")
        time.sleep(0.05)


class Terminal:
    """A command with a terminal of its own, as a person has it."""

    def __init__(self, command: list[str], rows: int, columns: int) -> None:
        self.pid, self.fd = pty.fork()
        if self.pid == 0:
            termios.tcsetwinsize(0, (rows, columns))
            os.execvp(command[0], command)
        self.shown, self.seen = "", 0

    def resize(self, rows: int, columns: int) -> None:
        termios.tcsetwinsize(self.fd, (rows, columns))

    def type(self, text: str) -> None:
        os.write(self.fd, text.encode())

    def expect(self, text: str, seconds: float = 30) -> None:
        """Waits for something after what was expected last."""
        deadline = time.monotonic() + seconds
        while (at := self.shown.find(text, self.seen)) < 0:
            if time.monotonic() > deadline or not self._read(0.1):
                raise Failed(f"no {text!r} on the terminal, but:\n{self.shown}")
        self.seen = at + len(text)

    def end(self, seconds: float = 30) -> int:
        """The exit code."""
        deadline = time.monotonic() + seconds
        while self._read(0.1):
            if time.monotonic() > deadline:
                os.kill(self.pid, signal.SIGKILL)
        _, status = os.waitpid(self.pid, 0)
        os.close(self.fd)
        return os.waitstatus_to_exitcode(status)

    def _read(self, seconds: float) -> bool:
        """Whether there may be more to come."""
        if select.select([self.fd], [], [], seconds)[0]:
            try:
                self.shown += os.read(self.fd, 4096).decode(errors="replace")
            except OSError:  # nobody has it open any more
                return False
        return True

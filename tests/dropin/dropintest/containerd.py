"""containerd, and containers of its."""

import contextlib
import os
import subprocess
from collections.abc import Iterator
from typing import Any

from .doing import Outcome, output, perform, wait_for
from .place import IMAGE, PROGRAM, WORK
from .podman import podman

SOCKET = f"{WORK}/containerd.sock"
RUNTIME = ["--runtime", "io.containerd.runc.v2", "--runc-binary", str(PROGRAM)]

_daemon: subprocess.Popen | None = None


@contextlib.contextmanager
def running() -> Iterator[None]:
    """The daemon, with the image that podman has, and with the runtime as its runc: some ways lead only there."""
    (WORK / "containerd.toml").write_text(CONFIG)
    (WORK / "bin").mkdir()
    (WORK / "bin/runc").write_text(f'#!/bin/sh\nexec {PROGRAM} "$@"\n')
    (WORK / "bin/runc").chmod(0o755)
    os.environ["PATH"] = f"{WORK}/bin:{os.environ['PATH']}"
    podman("save", "--quiet", "--format", "oci-archive", "--output", f"{WORK}/image.tar", IMAGE)
    start_daemon()
    try:
        ctr("image", "import", f"{WORK}/image.tar")
        once(IMAGE, "true")
        yield
    finally:
        stop_daemon()


CONFIG = f"""
version = 2
root = "{WORK}/containerd-root"
state = "{WORK}/containerd-state"
disabled_plugins = ["io.containerd.grpc.v1.cri"]
[grpc]
address = "{SOCKET}"
[plugins."io.containerd.internal.v1.opt"]
path = "{WORK}/opt"
"""


def start_daemon() -> None:
    global _daemon
    with open(WORK / "containerd.log", "a") as log:
        _daemon = subprocess.Popen(["containerd", "--config", f"{WORK}/containerd.toml"], stdout=log, stderr=log)
    wait_for("containerd", lambda: attempt("version").code == 0)


def stop_daemon() -> None:
    if _daemon:
        _daemon.terminate()
        _daemon.wait(timeout=30)


def ctr(*words: str, **more: Any) -> str:
    """What its client says; it has to succeed, or to end with the given code."""
    return output(["ctr", "--address", SOCKET, *words], **more)


def attempt(*words: str) -> Outcome:
    return perform(["ctr", "--address", SOCKET, *words])


def start(*words: str, name: str = "c") -> int:
    """A container in the background, whose output goes to a file. The answer is its first process."""
    at = words.index(IMAGE)
    ctr("run", "--detach", "--log-uri", f"file://{WORK}/{name}.log", "--pid-file", f"{WORK}/{name}.pid",
        *RUNTIME, *words[:at], IMAGE, name, *words[at + 1:])
    return int((WORK / f"{name}.pid").read_text())


def once(*words: str, name: str = "c", **more: Any) -> str:
    """What a container in the foreground says."""
    at = words.index(IMAGE)
    return ctr("run", "--rm", *RUNTIME, *words[:at], IMAGE, name, *words[at + 1:], **more)


def logged(name: str = "c") -> str:
    return (WORK / f"{name}.log").read_text().strip()


def status(name: str = "c") -> str:
    rows = [line.split() for line in ctr("task", "ls").splitlines()[1:]]
    return next((row[2] for row in rows if row[0] == name), "none")


def remove_all() -> None:
    for task in ctr("task", "ls", "-q").split():
        # It is told that what it removes had to be killed.
        attempt("task", "rm", "--force", task)
    for name in ctr("container", "ls", "-q").split():
        ctr("container", "rm", name)
    for file in WORK.glob("*.log"):
        if file.name != "containerd.log":
            file.unlink()

"""podman, and containers of its."""

import json
from typing import Any

from .doing import Outcome, output, perform, wait_for
from .place import IMAGE


def podman(*words: str, **more: Any) -> str:
    """What it says; it has to succeed, or to end with the given code."""
    return output(["podman", *words], **more)


def attempt(*words: str) -> Outcome:
    return perform(["podman", *words])


def start(*words: str, name: str = "c", network: str = "none") -> int:
    """A container in the background. The answer is the number of its first process."""
    podman("run", "--detach", "--name", name, "--network", network, *words)
    return state(name)["Pid"]


def once(*words: str, network: str = "none", **more: Any) -> str:
    """What a container in the foreground says."""
    return podman("run", "--rm", "--network", network, *words, **more)


def tried(*words: str, network: str = "none") -> Outcome:
    """What comes of a container in the foreground that need not succeed."""
    return attempt("run", "--rm", "--network", network, *words)


def sh(script: str) -> list[str]:
    """The image, and a script for its shell."""
    return [IMAGE, "sh", "-c", script]


def inspect(container: str = "c") -> dict:
    return json.loads(podman("container", "inspect", container))[0]


def state(container: str = "c") -> dict:
    return inspect(container)["State"]


def wait_for_log(words: str, container: str = "c") -> None:
    wait_for(f"{words!r} in the log", lambda: words in podman("logs", container))


def remove_all() -> None:
    # It may find a mount busy that its own cleanup, started by the container's end, is just taking away.
    for words in [["pod", "rm"], ["rm", "--volumes"]]:
        command = [*words, "--force", "--all", "--time", "0"]
        wait_for("podman " + " ".join(command), lambda: attempt(*command).code == 0, 10)

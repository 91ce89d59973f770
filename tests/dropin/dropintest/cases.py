"""The cases, and what is said of each."""

import subprocess
import time
from collections.abc import Callable

from . import containerd, place, podman
from .doing import Failed, Skipped
from .place import PROGRAM

Case = Callable[[], None]

# Where the runtimes of Debian 12, crun 1.8.1 and runc 1.1.5, are known to do otherwise; not run for them.
DIFFERS = {
    "crun": {},
    "runc": {
        "podman_rights::a_volume_shows_owners_by_a_mapping": "is older than runtime-spec 1.1",
        "podman_tools::hooks_are_told_the_state": "runs poststart hooks at create",
    },
}

_ALL: dict[str, Case] = {}


def case(function: Case) -> Case:
    _ALL[f"{function.__module__.rsplit('.', 1)[1]}::{function.__name__}"] = function
    return function


def of(caller: str, words: list[str]) -> list[tuple[str, Case]]:
    """The cases of podman or of containerd whose names hold one of the words, or all."""
    return [(name, function) for name, function in _ALL.items()
            if name.startswith(caller) and (not words or any(word in name for word in words))]


def judge(name: str, function: Case) -> str:
    """Runs a case, takes its containers away, and looks at what they left."""
    if reason := DIFFERS.get(PROGRAM.name, {}).get(name):
        print(f"SKIP {name}: {PROGRAM.name} {reason}", flush=True)
        return "skipped"
    before, started = place.traces(), time.monotonic()
    problem = skipped = None
    try:
        function()
    except Skipped as reason:
        skipped = reason
    except Failed as failed:
        problem = str(failed)
    except (OSError, ValueError, KeyError, subprocess.SubprocessError) as error:
        problem = f"{type(error).__name__}: {error}"
    left = _take_away(before, podman.remove_all if name.startswith("podman") else containerd.remove_all)
    problem = problem or left
    if problem:
        print(f"FAIL {name}\n{problem}", flush=True)
        return "failed"
    print(f"SKIP {name}: {skipped}" if skipped else f"ok   {name} {time.monotonic() - started:.1f} s", flush=True)
    return "skipped" if skipped else "passed"


def _take_away(before: set[str], remove_all: Callable[[], None]) -> str | None:
    """Removes all containers. The answer is what is left all the same, some seconds later."""
    try:
        remove_all()
    except (Failed, subprocess.SubprocessError) as error:
        return str(error)
    deadline = time.monotonic() + 10
    while (left := place.traces() - before) and time.monotonic() < deadline:
        time.sleep(0.1)
    return "left behind:\n" + "\n".join(sorted(left)) if left else None

"""Inside the namespaces: the chosen cases, one after the other, and how many passed."""

import contextlib
import sys
from collections.abc import Iterator

from . import cases, containerd, place
from . import containerd_life, podman_life, podman_limits, podman_rights, podman_tools  # noqa: F401, for their cases
from .doing import first_line
from .place import PROGRAM, UNIFIED, WORDS


def main() -> int:
    """Returns the exit code."""
    place.prepare()
    versions = [first_line([program, "--version"]) for program in [str(PROGRAM), "podman", "conmon", "containerd"]]
    print(f"{PROGRAM}: {'; '.join(versions)}; control groups v{2 if UNIFIED else 1}", flush=True)
    counts = {"passed": 0, "failed": 0, "skipped": 0}
    for caller, daemon in {"podman": _no_daemon, "containerd": containerd.running}.items():
        chosen = cases.of(caller, WORDS)
        if chosen:
            with daemon():
                for name, function in chosen:
                    counts[cases.judge(name, function)] += 1
    print(", ".join(f"{count} {word}" for word, count in counts.items()))
    return 0 if counts["passed"] and not counts["failed"] else 1


@contextlib.contextmanager
def _no_daemon() -> Iterator[None]:
    yield


sys.exit(main())

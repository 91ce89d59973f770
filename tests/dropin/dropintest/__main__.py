"""usage: python3 -m dropintest RUNTIME [WORD...]: cases whose names hold a word, or all of them."""

import signal
import subprocess
import sys

from . import place


def main() -> int:
    """Runs all of it in namespaces and control groups that end with it. Returns the exit code."""
    for number in [signal.SIGINT, signal.SIGTERM]:
        signal.signal(number, lambda number, _: sys.exit(128 + number))
    with place.own_groups() as groups:
        # It does not outlive us; and the namespace begins at the group that we are in.
        command = ["setpriv", "--pdeathsig", "KILL", "unshare", "--cgroup"]
        command += ["sh", "-c", 'echo 0 >"$0/cgroup.procs" && exec "$@"', place.inner(groups[0])]
        command += ["unshare", "--mount", "--net", "--pid", "--fork", "--kill-child", "--mount-proc"]
        # The first process of a namespace has to wait for orphans.
        command += ["catatonit", "--", sys.executable, "-B", "-m", f"{__package__}.inside", *sys.argv[1:]]
        child = subprocess.Popen(
            command, preexec_fn=lambda: [(group / "cgroup.procs").write_text("0") for group in groups])
        try:
            return child.wait()
        finally:
            child.kill()
            child.wait()


sys.exit(main())

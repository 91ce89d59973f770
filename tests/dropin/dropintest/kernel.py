"""What the kernel says of a process."""

import pathlib

from .doing import Failed
from .place import GROUPS, UNIFIED


def group_file(pid: int, controller: str, version_1: str, version_2: str) -> str:
    """The content of a file of a process's control group."""
    for line in pathlib.Path(f"/proc/{pid}/cgroup").read_text().splitlines():
        _, controllers, path = line.split(":", 2)
        if UNIFIED and controllers == "":
            return (GROUPS / path.lstrip("/") / version_2).read_text().strip()
        if not UNIFIED and controller in controllers.split(","):
            return (GROUPS / controllers / path.lstrip("/") / version_1).read_text().strip()
    raise Failed(f"process {pid} is in no group of {controller}")


def has_limits(pid: int, memory: int | None = None, quota: int | None = None, processors: str | None = None) -> None:
    """Compares limits: bytes of memory, microseconds of a tenth of a second, a list of processors."""
    wanted = [
        (memory, "memory", "memory.limit_in_bytes", "memory.max"),
        (f"{quota} 100000" if UNIFIED and quota else quota, "cpu", "cpu.cfs_quota_us", "cpu.max"),
        (processors, "cpuset", "cpuset.cpus", "cpuset.cpus"),
    ]
    for want, controller, version_1, version_2 in wanted:
        got = group_file(pid, controller, version_1, version_2) if want is not None else None
        if want is not None and got != str(want):
            raise Failed(f"limit of {controller}: {got}, not {want}")


def status_field(pid: int | str, field: str) -> str:
    text = pathlib.Path(f"/proc/{pid}/status").read_text()
    return next(line.split(":", 1)[1].strip() for line in text.splitlines() if line.startswith(f"{field}:"))


def capabilities(pid: int | str) -> int:
    return int(status_field(pid, "CapEff"), 16)

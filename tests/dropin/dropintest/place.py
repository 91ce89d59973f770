"""Where the cases happen: control groups, file systems and configurations of their own."""

import contextlib
import os
import pathlib
import re
import shutil
import subprocess
import sys
import tarfile
from collections.abc import Iterator

from .doing import output, wait_for

PROGRAM = pathlib.Path(sys.argv[1])
WORDS = sys.argv[2:]
WORK = pathlib.Path("/run/dropin")
IMAGE = "localhost/dropin:1"
GROUPS = pathlib.Path("/sys/fs/cgroup")
UNIFIED = (GROUPS / "cgroup.controllers").exists()
# Both versions: containers' limits are those of the first. crun refuses such a machine.
HYBRID = (GROUPS / "unified").exists() and not UNIFIED and PROGRAM.name != "crun"


@contextlib.contextmanager
def own_groups() -> Iterator[list[pathlib.Path]]:
    """A control group of our own in each tree, which is gone in the end with all below it."""
    _mount_groups()
    trees = [GROUPS] if UNIFIED else [tree for tree in sorted(GROUPS.iterdir()) if not tree.is_symlink()]
    groups = [tree / f"edgelet-dropin.{os.getpid()}" for tree in trees]
    handed_down = _hand_down(GROUPS) if UNIFIED else []
    try:
        for group in groups:
            inner(group).mkdir(parents=True)
            for name in ["cpuset.cpus", "cpuset.mems"]:
                # A new group of version 1 has none, and takes no process without.
                if not UNIFIED and (group / name).exists():
                    (group / name).write_text((group.parent / name).read_text())
        yield groups
    finally:
        for group in groups:
            wait_for(f"the end of {group}", lambda: _removed(group))
        for controller in handed_down:
            (GROUPS / "cgroup.subtree_control").write_text(f"-{controller}")


def inner(group: pathlib.Path) -> pathlib.Path:
    """Where our own processes are: on version 2 a group with processes hands no controllers down."""
    return group / "tests" if UNIFIED else group


def _hand_down(group: pathlib.Path) -> list[str]:
    """Lets the groups below have all controllers. The answer is those that they did not have before."""
    control = group / "cgroup.subtree_control"
    there = control.read_text().split()
    more = [name for name in (group / "cgroup.controllers").read_text().split() if name not in there]
    for controller in more:
        control.write_text(f"+{controller}")
    return more


def _removed(group: pathlib.Path) -> bool:
    """Groups of processes that were just killed are not empty at once."""
    with contextlib.suppress(OSError):
        for below in sorted(group.rglob("*/"), reverse=True):
            below.rmdir()
        group.rmdir()
    return not group.exists()


def _mount_groups() -> None:
    """The trees as this namespace sees them."""
    trees = [line.split(":")[1] for line in pathlib.Path("/proc/self/cgroup").read_text().splitlines()]
    run(["umount", "--recursive", "--lazy", "/sys"])
    mount("sysfs", "/sys")
    if UNIFIED:
        mount("cgroup2", str(GROUPS))
        return
    mount("tmpfs", str(GROUPS))
    for tree in trees:
        if tree:
            place = GROUPS / tree.removeprefix("name=")
            place.mkdir()
            mount("cgroup", str(place), f"none,{tree}" if tree.startswith("name=") else tree)
            # Of several controllers each is looked for by its own name.
            for name in tree.split(",") if "," in tree else []:
                (GROUPS / name).symlink_to(place.name)
        elif HYBRID:
            (GROUPS / "unified").mkdir()
            mount("cgroup2", str(GROUPS / "unified"))


def prepare() -> None:
    """All that is written goes to memory, and is gone with this namespace of mounts."""
    _mount_groups()
    if UNIFIED:
        _hand_down(GROUPS)
    for place in ["/run", "/dev/shm", "/var/lib/containers", "/var/lib/containerd"]:
        if pathlib.Path(place).is_dir():
            mount("tmpfs", place)
    run(["ip", "link", "set", "lo", "up"])
    WORK.mkdir()
    os.chdir(WORK)
    _make_root()
    (WORK / "containers.conf").write_text(CONTAINERS.format(name=PROGRAM.name, program=PROGRAM, work=WORK))
    (WORK / "storage.conf").write_text(
        f'[storage]\ndriver = "overlay"\ngraphroot = "{WORK}/root"\nrunroot = "{WORK}/runroot"\n')
    os.environ.update(
        CONTAINERS_CONF=f"{WORK}/containers.conf", CONTAINERS_STORAGE_CONF=f"{WORK}/storage.conf", TMPDIR=str(WORK))
    changes = ["CMD /bin/sh", "ENV PATH=/bin", "ENV FROM_IMAGE=yes"]
    output(["podman", "import", *(word for change in changes for word in ("--change", change)), "root.tar", IMAGE])
    output(["podman", "run", "--rm", "--network", "none", IMAGE, "true"])


# Limits that need no privilege, whatever podman's own are; JSON logs, as of runtimes that podman knows; and no
# profile, which would be loaded for the whole machine.
CONTAINERS = """
[containers]
apparmor_profile = "unconfined"
default_ulimits = ["nofile=1024:1024", "nproc=4096:4096"]
log_driver = "k8s-file"
[engine]
cgroup_manager = "cgroupfs"
events_logger = "file"
runtime = "{name}"
runtime_supports_json = ["crun", "runc", "edgelet-oci"]
tmp_dir = "{work}/tmp"
[engine.runtimes]
{name} = ["{program}"]
[network]
network_backend = "netavark"
network_config_dir = "{work}/networks"
"""


def _make_root() -> None:
    """A root file system of one static program and what the cases look for, as a directory and as a tar file."""
    root = WORK / "rootfs"
    for folder in ["bin", "etc", "data", "dev", "proc", "sys", "tmp"]:
        (root / folder).mkdir(parents=True)
    (root / "tmp").chmod(0o1777)
    (root / "etc/passwd").write_text("root:x:0:0:root:/root:/bin/sh\nuser:x:1000:1000:user:/data:/bin/sh\n")
    (root / "etc/group").write_text("root:x:0:\nuser:x:1000:\nmore:x:2000:user\n")
    (root / "data/file").write_text("of the image\n")
    busybox = root / "bin/busybox"
    shutil.copy("/bin/busybox", busybox)
    for applet in output([str(busybox), "--list"]).split():
        if applet != "busybox":
            (root / "bin" / applet).symlink_to("busybox")
    with tarfile.open(WORK / "root.tar", "w") as tar:
        tar.add(root, ".")


def traces() -> set[str]:
    """What a container could leave behind: processes, mounts, control groups, interfaces, and a runtime's notes."""
    found = {f"mount {line.split()[4]}" for line in pathlib.Path("/proc/self/mountinfo").read_text().splitlines()}
    found |= {f"group {path}" for path in GROUPS.rglob("*/")}
    found |= {f"interface {path.name}" for path in pathlib.Path("/sys/class/net").iterdir()}
    for root in ["/run/edgelet-oci", "/run/crun", "/run/runc", "/run/containerd/runc/default"]:
        found |= {f"note {path}" for path in pathlib.Path(root).glob("*")}
    for process in pathlib.Path("/proc").glob("[0-9]*"):
        with contextlib.suppress(OSError):
            found.add(f"process {process.name} {(process / 'cmdline').read_text().replace(chr(0), ' ')[:200]}")
    return {trace for trace in found if not KEPT.search(trace)}


# The callers' own, some for all containers: the groups above those of containers, what podman 4.3 forgets of a pod
# in trees without controllers, the place of networks and of layers, and the daemon.
KEPT = re.compile(
    r"group .*/(libpod_parent|elsewhere|edgelet|default)(/conmon)?$|"
    r"group .*/(systemd|unified)/libpod_parent/[0-9a-f]+$|"
    rf"mount (/run/netns|{WORK}/root/overlay)$|"
    r"process \d+ containerd --config")


def run(command: list[str]) -> None:
    subprocess.run(command, check=True)


def mount(kind: str, place: str, options: str = "rw") -> None:
    run(["mount", "-t", kind, "-o", options, kind, place])

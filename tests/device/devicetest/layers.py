"""What our layers put into the root file system, at the places where their recipes put it.

Everything comes from the repository. What only this test needs is in `test_parts`, and nowhere else.
"""

import os
import re
from dataclasses import dataclass
from pathlib import Path

from . import loader
from .machines import Machine
from .tools import REPOSITORY, Failure, digest
from .tree import Tree

OS_BASE = REPOSITORY / "recipes-core/edgelet-os-base/files"
AGENT_FILES = REPOSITORY / "meta-edgelet/recipes-edgelet/edgelet/files"
RAUC_CONFIGURATION = REPOSITORY / "recipes-core/rauc/files/system.conf.in"
FSTAB = REPOSITORY / "recipes-core/base-files/files/fstab.in"
SAMPLE_MANIFEST = REPOSITORY / "recipes-containers/edgelet-hello/files/edgelet-hello.yaml"
GUEST = REPOSITORY / "tests/device/guest"
UNITS = "/usr/lib/systemd/system"
SEED = "/usr/share/edgelet/seed"
TOOLS = "/usr/libexec/edgelet-test/tools"
# What scripts of ours call.
APPLETS = "[ cat cmp cut grep mkdir mv printf readlink rm sed sha256sum sleep sync touch true".split()


@dataclass(frozen=True)
class Agent:
    """The program under test, as `cargo xtask dist` left it."""

    program: Path
    sample: Path

    @staticmethod
    def of(machine: Machine) -> "Agent":
        folder = Path(os.environ.get("CARGO_TARGET_DIR") or REPOSITORY / "agent/target") / "dist" / machine.arch
        if not (folder / "edgelet").exists():
            raise Failure(f"{folder}/edgelet is missing: run `cargo xtask dist {machine.arch}` in agent/")
        return Agent(folder / "edgelet", folder / "hello")


def install(tree: Tree, machine: Machine, built: Agent, keyring: Path, layout: Path) -> None:
    """All layers over Debian's packages."""
    base(tree, machine)
    os_base(tree)
    for path, file in loader.of(machine).files.items():
        tree.file(path, file)
    rauc(tree, machine, keyring)
    agent(tree, built)
    preload(tree, layout)
    test_parts(tree)


def base(tree: Tree, machine: Machine) -> None:
    """What the image recipe does to base-files and systemd: places to mount on, nothing that is made later."""
    for folder in ("/data", "/boot", "/dev", "/proc", "/sys", "/run", "/var/cache"):
        tree.folder(folder)
    tree.folder("/tmp", 0o1777)
    for file in ("/etc/machine-id", "/etc/hostname"):
        tree.file(file, "")
    tree.file("/etc/fstab", FSTAB.read_text().replace("@LOADER_LABEL@", loader.of(machine).label))
    tree.link("/etc/systemd/system/default.target", f"{UNITS}/multi-user.target")
    # Debian's own upkeep has no place on a device: its timers, package and file system checks.
    tree.remove("/etc/systemd/system/timers.target.wants",
                "/etc/systemd/system/multi-user.target.wants/e2scrub_reap.service")


def os_base(tree: Tree) -> None:
    """recipes-core: recipe edgelet-os-base."""
    for program in ("boot-health", "rauc-pre-install", "is-on-our-disk"):
        tree.file(f"/usr/libexec/edgelet-os/{program}", OS_BASE / program, 0o755)
    tree.file("/usr/sbin/edgelet-os-reset", OS_BASE / "edgelet-os-reset", 0o755)
    tree.file("/usr/lib/udev/rules.d/60-edgelet-disk.rules", OS_BASE / "60-edgelet-disk.rules")
    for name, part in {"journal": "journald", "timesync": "timesyncd", "watchdog": "system"}.items():
        tree.file(f"/usr/lib/systemd/{part}.conf.d/10-edgelet-{name}.conf", OS_BASE / f"10-edgelet-{name}.conf")
    tree.file(f"{UNITS}/edgelet.service.d/10-edgelet-data.conf", OS_BASE / "10-edgelet-data.conf")
    for part in ("facts.sh", "loader.sh", "order.sh"):
        tree.file(f"/usr/libexec/edgelet-os/{part}", OS_BASE / part)
    for unit in ("edgelet-boot-health.service", "edgelet-boot-deadline.timer"):
        install_unit(tree, OS_BASE / unit)
    tree.file(f"{UNITS}/edgelet-boot-deadline.service", OS_BASE / "edgelet-boot-deadline.service")


def rauc(tree: Tree, machine: Machine, keyring: Path) -> None:
    """recipes-core: append of rauc-conf."""
    configuration = RAUC_CONFIGURATION.read_text()
    for name, value in {"MACHINE": machine.machine, **loader.of(machine).rauc}.items():
        configuration = configuration.replace(f"@{name}@", value)
    tree.file("/etc/rauc/system.conf", configuration)
    tree.file("/etc/rauc/keyring.pem", keyring)


def agent(tree: Tree, built: Agent) -> None:
    """meta-edgelet: recipe edgelet."""
    tree.file("/usr/bin/edgelet", built.program, 0o755)
    tree.link("/usr/bin/edgelet-oci", "edgelet")
    tree.file("/usr/libexec/edgelet/edgelet-seed", AGENT_FILES / "edgelet-seed", 0o755)
    tree.file("/usr/lib/tmpfiles.d/edgelet.conf", AGENT_FILES / "edgelet.conf")
    tree.folder("/etc/edgelet")
    for unit in ("edgelet.service", "edgelet-seed.service"):
        install_unit(tree, AGENT_FILES / unit)


def preload(tree: Tree, layout: Path) -> None:
    """meta-edgelet: class edgelet-preload with the sample workload."""
    tree.copy(f"{SEED}/images/edgelet-hello.oci", layout)
    tree.file(f"{SEED}/manifests/edgelet-hello.yaml", SAMPLE_MANIFEST)


def install_unit(tree: Tree, file: Path) -> None:
    """A unit, enabled as its [Install] section says."""
    tree.file(f"{UNITS}/{file.name}", file)
    for target in re.findall(r"^WantedBy=(\S+)", file.read_text(), re.MULTILINE):
        tree.link(f"/etc/systemd/system/{target}.wants/{file.name}", f"{UNITS}/{file.name}")


def test_parts(tree: Tree) -> None:
    """What makes it a development variant that the driver can talk to: nothing of this is in a product."""
    tree.file("/usr/libexec/edgelet-test/channel", GUEST / "channel", 0o755)
    for unit in ("edgelet-test-channel.service", "edgelet-test-broken.service"):
        install_unit(tree, GUEST / unit)
    tree.file("/usr/lib/systemd/network/80-test.network", "[Match]\nName=en* eth*\n[Network]\nDHCP=ipv4\n")
    tree.link("/etc/systemd/system/multi-user.target.wants/systemd-networkd.service",
              f"{UNITS}/systemd-networkd.service")
    # Three emulated machines on two cores may take longer to show a serial port than any device.
    tree.file("/usr/lib/systemd/system.conf.d/80-test.conf", "[Manager]\nDefaultDeviceTimeoutSec=300s\n")
    shadow = tree.read("/etc/shadow").decode()
    tree.file("/etc/shadow", re.sub(r"^root:[^:]*:", "root::", shadow, flags=re.MULTILINE), 0o640)


def small_tools(tree: Tree, busybox: bytes) -> None:
    """Services find busybox first, as the image has nothing else; the driver's commands are for Debian's tools."""
    tree.file(f"{TOOLS}/busybox", busybox, 0o755)
    for applet in APPLETS:
        tree.link(f"{TOOLS}/{applet}", "busybox")
    tree.link("/usr/bin/sh", f"{TOOLS}/busybox")
    tree.file("/usr/lib/systemd/system.conf.d/80-test-tools.conf",
              f"[Manager]\nDefaultEnvironment=PATH={TOOLS}:/usr/sbin:/usr/bin\n")


def never_up(tree: Tree) -> None:
    """A unit that never ends holds up the whole system, and the deadline is sooner than on a device."""
    tree.file(f"{UNITS}/stuck.service", "[Unit]\nDefaultDependencies=no\nBefore=sysinit.target\n"
              "[Service]\nType=oneshot\nExecStart=/usr/bin/sleep infinity\n")
    tree.link("/etc/systemd/system/sysinit.target.wants/stuck.service", f"{UNITS}/stuck.service")
    tree.file(f"{UNITS}/edgelet-boot-deadline.timer.d/soon.conf", "[Timer]\nOnStartupSec=\nOnStartupSec=2min\n")


def inputs(machine: Machine) -> str:
    """A name for all files of ours that go into the root."""
    mine = loader.of(machine)
    return digest(machine.machine, mine.label, str(mine.rauc), *mine.files.values(), OS_BASE, AGENT_FILES,
                  RAUC_CONFIGURATION, FSTAB, SAMPLE_MANIFEST, GUEST)

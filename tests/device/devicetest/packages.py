"""What comes from Debian: a root file system that is installed, and a folder of files to pick from.

Two calls of mmdebstrap, each kept as a tar file. The second only extracts: kernel, modules and the programs of the
initramfs are taken from it one by one, and need no maintainer script.
"""

import os
from pathlib import Path

from .machines import Machine
from .tools import cached, digest, require, run

SUITE = "trixie"

# systemd as the product has it, RAUC with its service, and what the product's image names as well.
ROOT = (
    "ca-certificates dbus e2fsprogs f2fs-tools fdisk grub-common iproute2 kmod libnss-myhostname login mount passwd "
    "procps rauc rauc-service systemd systemd-sysv systemd-timesyncd udev util-linux"
).split()

# Not the static busybox: Debian builds that one so that its own applets win over programs in PATH.
BOOT = "busybox cryptsetup-bin e2fsprogs f2fs-tools fdisk util-linux".split()

# Nobody reads them on a device, and they are a third of the size.
LEFT_OUT = ("/usr/share/doc/*", "/usr/share/locale/*", "/usr/share/man/*", "/usr/share/info/*", "/usr/share/lintian/*")


def root(machine: Machine) -> Path:
    """A tar file with Debian's packages installed and configured."""
    return _bootstrap("debian-root", machine, "minbase", ROOT)


def boot(machine: Machine) -> Path:
    """A tar file with packages extracted, among them the kernel."""
    return _bootstrap("debian-boot", machine, "extract", [machine.kernel, *BOOT])


def _bootstrap(name: str, machine: Machine, variant: str, packages: list[str]) -> Path:
    mirror = os.environ.get("EDGELET_TEST_MIRROR", "http://deb.debian.org/debian")
    command = [
        "mmdebstrap", f"--variant={variant}", f"--architectures={machine.debian}", f"--include={','.join(packages)}",
        '--aptopt=APT::Install-Recommends "false"', *(f"--dpkgopt=path-exclude={pattern}" for pattern in LEFT_OUT),
    ]

    def make(path: Path) -> None:
        require("mmdebstrap")
        tar = path.with_name(path.name + ".tar")
        run(*command, SUITE, tar, mirror)
        tar.rename(path)

    return cached(f"{name}-{machine.arch}.tar", digest(SUITE, command), make)

"""What comes from Debian: a root file system that is installed, and a folder of files to pick from.

Two calls of mmdebstrap, each kept as a tar file. The second only extracts: kernel, modules and the programs of the
initramfs are taken from it one by one, and need no maintainer script.
"""

import os
import re
from pathlib import Path

from .machines import ALL, Machine
from .tools import Failure, cached, digest, require, run
from .tree import Tree

SUITE = "trixie"
ELF = b"\x7fELF"

# systemd as the product has it, RAUC with its service, and what the product's image names as well.
ROOT = (
    "ca-certificates dbus e2fsprogs f2fs-tools fdisk iproute2 kmod libnss-myhostname login mount passwd procps rauc "
    "rauc-service systemd systemd-sysv systemd-timesyncd udev util-linux"
).split()

# What every installed root has, and a list of packages to extract has to name.
ESSENTIAL = (
    "base-files base-passwd bash bsdutils coreutils dash debianutils diffutils findutils grep gzip hostname "
    "init-system-helpers libc-bin ncurses-base ncurses-bin sed tar"
).split()

# Not the static busybox: Debian builds that one so that its own applets win over programs in PATH.
BOOT = "busybox cryptsetup-bin e2fsprogs f2fs-tools fdisk util-linux".split()

# Nobody reads them on a device, and they are a third of the size.
LEFT_OUT = ("/usr/share/doc/*", "/usr/share/locale/*", "/usr/share/man/*", "/usr/share/info/*", "/usr/share/lintian/*")


def root(machine: Machine) -> Path:
    """A tar file with Debian's packages installed and configured."""
    wanted = [*ROOT, "libubootenv-tool" if machine.uboot else "grub-common"]
    here = run("dpkg", "--print-architecture").strip()
    if machine.debian == here:
        return _bootstrap("debian-root", machine, "minbase", wanted)
    native = next(each for each in ALL.values() if each.debian == here)
    extracted = _bootstrap("debian-files", machine, "extract", [*ESSENTIAL, *wanted])
    return _configured_elsewhere(machine, extracted, root(native))


def _configured_elsewhere(machine: Machine, extracted: Path, configured: Path) -> Path:
    """Packages of a foreign architecture, whose maintainer scripts cannot run here, with what those scripts made on
    ours: users, links of alternatives, enabled units. None of it is a program."""

    def make(path: Path) -> None:
        tree, made = Tree(), Tree()
        tree.take(extracted)
        made.take(configured)
        listed = _listed(made)
        for name, (info, content) in made.files.items():
            if name not in listed and name not in tree.files and not name.startswith("/var/lib/dpkg/"):
                if content.startswith(ELF):
                    raise Failure(f"{configured}: {name} is a program of no package")
                tree.files[name] = (info, content)
        # It names libraries of our architecture. Without it they are searched for, and systemd wants to make it.
        tree.remove("/etc/ld.so.cache")
        tree.link("/etc/systemd/system/ldconfig.service", "/dev/null")
        with open(path, "wb") as out:
            tree.write(out)

    key = digest(extracted.name, configured.name, Path(__file__))
    return cached(f"debian-root-{machine.arch}.tar", key, make)


def _listed(tree: Tree) -> set[str]:
    """Files that packages brought."""
    lists = [content for path, (_, content) in tree.files.items() if re.match(r"/var/lib/dpkg/info/.*\.list$", path)]
    return {tree.real(line) for content in lists for line in content.decode().splitlines()}


def boot(machine: Machine) -> Path:
    """A tar file with packages extracted, among them the kernel."""
    return _bootstrap("debian-boot", machine, "extract", [machine.kernel, *BOOT])


def _bootstrap(name: str, machine: Machine, variant: str, packages: list[str]) -> Path:
    command = [
        "mmdebstrap", f"--variant={variant}", f"--architectures={machine.debian}", f"--include={','.join(packages)}",
        '--aptopt=APT::Install-Recommends "false"', *(f"--dpkgopt=path-exclude={pattern}" for pattern in LEFT_OUT),
    ]

    def make(path: Path) -> None:
        require("mmdebstrap")
        tar = path.with_name(path.name + ".tar")
        run(*command, SUITE, tar, mirror())
        tar.rename(path)

    return cached(f"{name}-{machine.arch}.tar", digest(SUITE, command), make)


def mirror() -> str:
    """Of Debian."""
    return os.environ.get("EDGELET_TEST_MIRROR", "http://deb.debian.org/debian")

"""One release of the system: what a slot group holds, for the disk and for a bundle."""

import os
import subprocess
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from . import disk, initramfs, layers, modules, packages
from .machines import Machine
from .tools import REPOSITORY, Failure, cached, digest, require, run
from .tree import Tree

SLOT_TOOLS = REPOSITORY / "files/slots"
# Files of this package whose change makes another release.
OF_THIS = "disk.py elf.py initramfs.py layers.py modules.py system.py tree.py".split()


@dataclass(frozen=True)
class Release:
    """Files for a slot group."""

    folder: Path

    @property
    def rootfs(self) -> Path:
        """The squashfs with its hash tree."""
        return self.folder / "rootfs.img"

    @property
    def kernel(self) -> Path:
        """The FAT image with kernel, initramfs and root hash."""
        return self.folder / "kernel.img"

    @property
    def size(self) -> int:
        """Of the squashfs alone, in bytes."""
        return int((self.folder / "squashfs-size").read_text())


def build(machine: Machine, name: str, keyring: Path, change: Callable[[Tree], None], key: str = "") -> Release:
    """A release; `change` is the last to touch the root. `key` names what `change` does."""
    built = layers.Agent.of(machine)
    inputs = digest(
        packages.root(machine).name, packages.boot(machine).name, name, key, layers.inputs(machine), initramfs.SCRIPTS,
        SLOT_TOOLS, built.program, built.sample, keyring, *_other_busybox(),
        *(Path(__file__).with_name(name) for name in OF_THIS),
    )
    layout = sample_image(machine, built)

    def make(folder: Path) -> None:
        folder.mkdir()
        parts, unpacked = modules.unpack(packages.boot(machine))
        with unpacked:
            debian = Tree()
            debian.take(packages.boot(machine), leave_out=("/boot", "/usr/lib/modules"))
            for busybox in _other_busybox():
                debian.file("/usr/bin/busybox", busybox, 0o755)
            archive = initramfs.assemble(debian, parts)
            parts.keep(modules.SYSTEM)
            tree = _root(machine, built, parts, keyring, layout)
            layers.small_tools(tree, debian.read("/usr/bin/busybox"))
            change(tree)
            _kernel_slot(folder, parts.kernel, archive, _seal(tree, folder))

    return Release(cached(f"release-{machine.arch}-{name}", inputs, make))


def _other_busybox() -> list[Path]:
    """In place of Debian's: the one that a build of the layers made, for whoever has it."""
    path = os.environ.get("EDGELET_TEST_BUSYBOX")
    return [Path(path)] if path else []


def sample_image(machine: Machine, built: layers.Agent) -> Path:
    """The sample workload as an OCI layout, for one architecture."""

    def make(path: Path) -> None:
        run("cargo", "run", "--quiet", "--package", "xtask", "--manifest-path", REPOSITORY / "agent/Cargo.toml",
            "--", "sample-image", path, built.sample)

    return cached(f"sample-{machine.arch}", digest(built.sample, REPOSITORY / "agent/xtask/src/sample.rs"), make)


def _root(machine: Machine, built: layers.Agent, parts: modules.Modules, keyring: Path,
          layout: Path) -> Tree:
    tree = Tree()
    tree.take(packages.root(machine), leave_out=("/boot", "/dev", "/proc", "/sys", "/run", "/tmp", "/var/cache",
                                                 "/var/lib/apt", "/var/lib/dpkg"))
    tree.copy(f"/usr/lib/modules/{parts.version}", parts.folder)
    layers.install(tree, machine, built, keyring, layout)
    return tree


def _seal(tree: Tree, folder: Path) -> str:
    """Writes rootfs.img by the layer's own tool; returns what the loader has to pass on."""
    require("mksquashfs", "veritysetup")
    squashfs = folder / "squashfs"
    command = ["mksquashfs", "-", str(squashfs), "-tar", "-comp", "zstd", "-Xcompression-level", "6", "-noappend",
               "-quiet", "-no-progress", "-mkfs-time", "0", "-root-mode", "0755", "-b", "128K"]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.DEVNULL) as making:
        tree.write(making.stdin)
        making.stdin.close()
    if making.returncode != 0:
        raise Failure(f"mksquashfs: exit {making.returncode}")
    (folder / "squashfs-size").write_text(str(squashfs.stat().st_size))
    arguments = run(SLOT_TOOLS / "make-verity", squashfs, folder / "rootfs.img", str(disk.ROOTFS_SLOT_MIB)).strip()
    squashfs.unlink()
    return arguments


def _kernel_slot(folder: Path, kernel: Path, archive: bytes, arguments: str) -> None:
    """Writes kernel.img by the layer's own tool."""
    require("mkfs.vfat", "mcopy")
    initramfs_file = folder / "initramfs"
    initramfs_file.write_bytes(archive)
    run(SLOT_TOOLS / "make-kernel-slot", folder / "kernel.img", str(disk.KERNEL_SLOT_MIB), arguments, kernel,
        initramfs_file)
    initramfs_file.unlink()

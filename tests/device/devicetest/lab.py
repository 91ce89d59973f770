"""What stories are made with: releases, bundles, media, and a disk of its own for each."""

from __future__ import annotations

import random
import tempfile
import threading
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path

from . import bundle, disk, layers, loader, oci_image, packages, system
from .disk import MIB
from .machines import Machine
from .tools import cached, digest, run
from .tree import Tree
from .vm import Vm

MEDIUM_MIB = 2048


@dataclass
class Lab:
    """One architecture. Everything is made when it is first asked for, and cached."""

    machine: Machine
    seed: int
    folder: Path
    _making: threading.RLock = field(default_factory=threading.RLock)

    @cached_property
    def loader(self) -> loader.Loader:
        """The one that its machines have."""
        return loader.of(self.machine)

    @cached_property
    def authority(self) -> bundle.Authority:
        """Whom the device trusts."""
        return bundle.authority("trusted")

    @cached_property
    def stranger(self) -> bundle.Authority:
        """Whom it does not."""
        return bundle.authority("stranger")

    def release(self, name: str) -> system.Release:
        """`first` is on the disk; `second` is an update; the others are updates that must not stay."""

        def change(tree: Tree) -> None:
            tree.file("/etc/edgelet-release", f"{name}\n")
            if name == "sick":
                tree.file("/usr/bin/edgelet", "#!/bin/sh\nexit 1\n", 0o755)
            if name == "bare":
                tree.remove("/usr/bin/edgelet", "/usr/bin/edgelet-oci")
            if name == "stuck":
                layers.never_up(tree)

        with self._making:
            return system.build(self.machine, name, self.authority.certificate, change, key="2")

    def bundle(self, name: str, signer: bundle.Authority | None = None) -> Path:
        """A release as an update."""
        with self._making:
            signer = signer or self.authority
            version = name if signer is self.authority else f"{name}-by-stranger"
            return bundle.bundle(self.machine, self.release(name), signer, version)

    @cached_property
    def foreign_bundle(self) -> Path:
        """An update for another machine, by whom this one trusts."""
        with self._making:
            return bundle.bundle(self.machine, self.release("second"), self.authority, "foreign", board="other-board")

    @cached_property
    def sample(self) -> Path:
        """The image layout of the workload that releases preload."""
        with self._making:
            return system.sample_image(self.machine, layers.Agent.of(self.machine))

    def seldom_read(self, release: str) -> int:
        """Where in a root there is a block that no boot reads but the first."""
        layer = max(self.sample.glob("blobs/sha256/*"), key=lambda blob: blob.stat().st_size)
        # Packed already, so that it stands in the squashfs as it is. Well inside: its ends are its neighbours' too.
        return self.release(release).rootfs.read_bytes().index(layer.read_bytes()[:4096]) + 64 * 1024

    @cached_property
    def box(self) -> Path:
        """The image layout of a workload with a shell."""
        with self._making:
            return oci_image.box(self.machine, packages.boot(self.machine))

    def media(self, *bundles: Path) -> Path:
        """A file system to plug in: bundles, and the image of the box."""
        key = digest([path.name for path in bundles], self.box.name)

        def make(path: Path) -> None:
            with tempfile.TemporaryDirectory(dir=path.parent, prefix=".media-") as name:
                for each in bundles:
                    (Path(name) / each.name.split("-", 2)[2].rsplit("-", 1)[0]).hardlink_to(each)
                run("cp", "-r", self.box, f"{name}/box")
                size = sum(each.stat().st_size for each in bundles) // MIB + 64
                run("mke2fs", "-q", "-t", "ext4", "-O", "^has_journal", "-m", "0", "-d", name, path, f"{size}M")

        with self._making:
            return cached(f"media-{self.machine.arch}", key, make)

    def disk(self, name: str, data: str = "ext4") -> disk.Disk:
        """A freshly flashed medium: the first release in both slots, as the image has it."""
        first = self.release("first")
        with self._making:
            contents = {self.loader.label: self.loader.partition()}
        for slot in "ab":
            contents |= {f"kernel-{slot}": first.kernel, f"rootfs-{slot}": first.rootfs}
        return disk.create(self.folder / f"{name}.img", self.loader.partition_table, MEDIUM_MIB, contents, data)

    def random(self, story: str) -> random.Random:
        """The same moments for the same seed, whatever else runs."""
        return random.Random(f"{self.seed} {story}")

    def vm(self, medium: disk.Disk, name: str, **options) -> Vm:
        """A machine that is off."""
        return Vm(self.machine, medium.path, name=name, **options)

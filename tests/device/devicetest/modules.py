"""Kernel modules: those that are named and what they need, from Debian's kernel package."""

import lzma
import tarfile
import tempfile
from pathlib import Path

from .tools import Failure, require, run

# What opens the root and the data partition, before udev.
# File systems ask the kernel for their checksums by name, which modules.dep does not show.
INITRAMFS = "virtio_pci virtio_blk squashfs overlay dm_verity crc32c_generic ext4 crc32_generic f2fs".split()

# What the system loads by itself, and Debian has as modules.
SYSTEM = INITRAMFS + """
    virtio_net virtio_console virtio_rng vfat nls_ascii nls_cp437 nls_iso8859_1 loop fuse autofs4 efivarfs configfs
    veth bridge br_netfilter nf_tables nft_chain_nat nft_ct nft_masq nft_nat nf_conntrack
""".split()


class Modules:
    """The modules of one kernel, unpacked to a folder, with the index that depmod makes."""

    def __init__(self, tar: Path, folder: Path):
        require("depmod")
        with tarfile.open(tar) as source:
            # The first Python 3.11 knows no filters.
            source.extraction_filter = getattr(tarfile, "data_filter", None)
            wanted = [m for m in source if "/lib/modules/" in m.name or "/boot/vmlinu" in m.name]
            source.extractall(folder, wanted)
        self.root = folder
        self.kernel = next((folder / "boot").glob("vmlinu[xz]-*"))
        self.version = self.kernel.name.split("-", 1)[1]
        self.folder = folder / "usr/lib/modules" / self.version
        run("depmod", "-b", folder / "usr", self.version)
        lines = (self.folder / "modules.dep").read_text().splitlines()
        self.needs = {path: rest.split() for path, rest in (line.split(":", 1) for line in lines)}
        self.paths = {_name(path): path for path in self.needs}
        self.built_in = {_name(path) for path in (self.folder / "modules.builtin").read_text().split()}

    def in_order(self, names: list[str]) -> list[str]:
        """Paths below the folder of the version, each after what it needs. What the kernel does not have fails."""
        order: list[str] = []
        for name in names:
            if name in self.built_in:
                continue
            if name not in self.paths:
                raise Failure(f"kernel {self.version} has no module {name}")
            path = self.paths[name]
            # modules.dep lists the nearest need first.
            for each in [*reversed(self.needs[path]), path]:
                if each not in order:
                    order.append(each)
        return order

    def content(self, path: str) -> bytes:
        """A module as it is loaded: insmod of busybox knows no xz, and a squashfs packs better over all of them."""
        return lzma.decompress((self.folder / path).read_bytes())

    def keep(self, names: list[str]) -> None:
        """Removes all other modules, and indexes again."""
        kept = set(self.in_order(names))
        for path in self.needs:
            if path in kept:
                (self.folder / path).with_suffix("").write_bytes(self.content(path))
            (self.folder / path).unlink()
        run("depmod", "-b", self.root / "usr", self.version)


def _name(path: str) -> str:
    return Path(path).name.split(".", 1)[0].replace("-", "_")


def unpack(tar: Path) -> tuple[Modules, tempfile.TemporaryDirectory]:
    """The modules in a temporary folder; the caller cleans it up."""
    folder = tempfile.TemporaryDirectory(prefix="edgelet-modules-")
    return Modules(tar, Path(folder.name)), folder

"""The medium: partition table and contents, made and changed as a plain file. No loop device, no root."""

import json
import os
import re
from dataclasses import dataclass
from pathlib import Path

from .tools import REPOSITORY, Failure, require, run

MIB = 1024 * 1024
DISTRIBUTION = REPOSITORY / "conf/distro/edgelet-os.conf"


def _slot_size(variable: str) -> int:
    """In MiB, as the distribution has it."""
    found = re.search(rf'^{variable} \?= "(\d+)"', DISTRIBUTION.read_text(), re.MULTILINE)
    if not found:
        raise Failure(f"{DISTRIBUTION}: no {variable}")
    return int(found.group(1))


KERNEL_SLOT_MIB = _slot_size("EDGELET_KERNEL_SLOT_SIZE")
ROOTFS_SLOT_MIB = _slot_size("EDGELET_ROOTFS_SLOT_SIZE")


def _layout(table: Path) -> list[tuple[str, int, str]]:
    """Label, size in MiB and GPT type of each partition of a table of the product. The order is the numbering."""
    sizes = {"${EDGELET_KERNEL_SLOT_SIZE}M": KERNEL_SLOT_MIB, "${EDGELET_ROOTFS_SLOT_SIZE}M": ROOTFS_SLOT_MIB}
    layout = []
    for line in table.read_text().splitlines():
        if label := re.search(r"--part-name (\S+)", line):
            size = re.search(r"--fixed-size (\S+)", line).group(1)
            kind = re.search(r"--part-type (\S+)", line)
            mib = sizes.get(size) or int(size.removesuffix("M"))
            layout.append((label.group(1), mib, kind.group(1) if kind else "8300"))
    return layout


def _data_options(table: Path) -> list[str]:
    """How wic makes the data file system."""
    return re.search(r'--mkfs-extraopts "([^"]*)"', table.read_text()).group(1).split()


def size_of(table: Path, label: str) -> int:
    """Of a partition, in MiB."""
    return next(size for name, size, _ in _layout(table) if name == label)


@dataclass(frozen=True)
class Partition:
    """Where a partition is, in bytes."""

    start: int
    size: int


class Disk:
    """A disk image that is not in use."""

    def __init__(self, path: Path):
        self.path = path
        self.partitions = _partitions(path)

    def write(self, label: str, content: Path, at: int = 0) -> None:
        """Puts a file into a partition, without the holes."""
        place = self.partitions[label]
        if at + content.stat().st_size > place.size:
            raise Failure(f"{content.name} of {content.stat().st_size} bytes does not fit into {label}")
        with open(self.path, "r+b") as disk, open(content, "rb") as source:
            disk.seek(place.start + at)
            while chunk := source.read(MIB):
                if any(chunk):
                    disk.write(chunk)
                else:
                    disk.seek(len(chunk), os.SEEK_CUR)

    def overwrite(self, label: str, at: int, content: bytes) -> None:
        """Puts bytes over what is there."""
        with open(self.path, "r+b") as disk:
            disk.seek(self.partitions[label].start + at)
            disk.write(content)

    def remove_partition(self, label: str) -> None:
        """Takes it out of the table; what it holds stays where it is."""
        number = 1 + list(self.partitions).index(label)
        run("sgdisk", "--delete", str(number), self.path)
        self.partitions = _partitions(self.path)

    def damage_table(self) -> None:
        """What a cut leaves that hits the first copy of the partition table while it is written."""
        with open(self.path, "r+b") as disk:
            disk.seek(2 * 512)
            disk.write(bytes(512))

    def table_is_whole(self) -> bool:
        """Both copies of the table, and both where they belong."""
        return "No problems found" in run("sgdisk", "--verify", self.path)


def _partitions(path: Path) -> dict[str, Partition]:
    require("sfdisk")
    said = run("sfdisk", "--json", path)
    # Warnings come first.
    table = json.loads(said[said.index("{"):])["partitiontable"]
    sector = table.get("sectorsize", 512)
    return {p["name"]: Partition(p["start"] * sector, p["size"] * sector) for p in table["partitions"]}


def create(path: Path, table: Path, medium_mib: int, contents: dict[str, Path], data: str = "ext4") -> Disk:
    """A medium of this size, as flashing the image to it leaves it: data is last and still small."""
    require("sgdisk", "mke2fs", "mkfs.f2fs")
    # An image is smaller than the medium, but for one whose whole rest was formatted as f2fs, which nobody grows.
    whole = data == "f2fs"
    image_mib = medium_mib if whole else 2 + sum(size for _, size, _ in _layout(table))
    path.write_bytes(b"")
    os.truncate(path, image_mib * MIB)
    command = ["sgdisk", "--clear"]
    for number, (label, size, kind) in enumerate(_layout(table), 1):
        end = "0" if whole and label == "data" else f"+{size}M"
        command += [f"--new={number}:0:{end}", f"--typecode={number}:{kind}", f"--change-name={number}:{label}"]
    run(*command, path)
    disk = Disk(path)
    os.truncate(path, medium_mib * MIB)
    for label, content in contents.items():
        disk.write(label, content)
    system = path.with_suffix(".data")
    with open(system, "wb") as file:
        file.truncate(disk.partitions["data"].size)
    if data == "ext4":
        run("mke2fs", "-q", "-F", "-t", "ext4", "-L", "data", *_data_options(table), system)
    else:
        run("mkfs.f2fs", "-q", "-l", "data", system)
    disk.write("data", system)
    system.unlink()
    return disk


def fat(path: Path, mib: int, files: dict[str, Path | bytes], label: str) -> None:
    """A FAT file system with these files; folders are made as needed."""
    require("mformat", "mcopy", "mmd")
    with open(path, "wb") as image:
        image.truncate(mib * MIB)
    # Serial number and times fixed: the same content gives the same bytes.
    fixed = {"SOURCE_DATE_EPOCH": "1", "MTOOLS_SKIP_CHECK": "1"}
    run("mformat", "-i", path, "-v", label, "-N", "edae1e70", "::", env=fixed)
    folders = {str(parent) for name in files for parent in Path(name).parents if str(parent) != "."}
    for folder in sorted(folders):
        run("mmd", "-i", path, f"::{folder}", env=fixed)
    for name, content in sorted(files.items()):
        source = content if isinstance(content, Path) else path.with_suffix(".part")
        if isinstance(content, bytes):
            source.write_bytes(content)
        run("mcopy", "-i", path, source, f"::{name}", env=fixed)
        if isinstance(content, bytes):
            source.unlink()

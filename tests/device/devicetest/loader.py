"""The loader's partition."""

import re
from pathlib import Path

from . import disk
from .machines import Machine
from .tools import REPOSITORY, cached, digest, require, run

GRUB = REPOSITORY / "recipes-core/grub/files/grub.cfg.in"
APPEND = REPOSITORY / "recipes-core/grub/grub-efi_%.bbappend"
ARGUMENTS = "panic=30 quiet"
VARIABLES = {"ORDER": "A B", "A_OK": "1", "A_TRY": "0", "B_OK": "1", "B_TRY": "0", "rounds": "0", "last": ""}


def _modules() -> list[str]:
    """Those that the recipe builds in, and none else: one that is missing has to be missed here."""
    found = re.search(r'^GRUB_BUILDIN\S* = "([^"]*)"', APPEND.read_text(), re.MULTILINE)
    return found.group(1).replace("\\", " ").split()


def _environment() -> bytes:
    """GRUB's variables in the form of its environment block."""
    lines = "".join(f"{name}={value}\n" for name, value in VARIABLES.items())
    return f"# GRUB Environment Block\n{lines}".encode().ljust(1024, b"#")


def partition(machine: Machine) -> Path:
    """The EFI system partition with GRUB, its configuration and its variables."""
    configuration = GRUB.read_text().replace("@KERNEL_ARGS@", f"{ARGUMENTS} console={machine.console}")

    def make(path: Path) -> None:
        require("grub-mkimage")
        program = path.with_name(path.name + ".grub")
        run("grub-mkimage", "-O", "x86_64-efi", "-p", "/EFI/BOOT", "-o", program, *_modules())
        disk.fat(path, next(size for label, size, _ in disk.PARTITIONS if label == "efi"), {
            "EFI/BOOT/bootx64.efi": program,
            "EFI/BOOT/grub.cfg": configuration.encode(),
            "EFI/BOOT/grubenv": _environment(),
        }, "efi")
        program.unlink()

    return cached(f"loader-{machine.arch}", digest(configuration, _modules(), Path(__file__)), make)

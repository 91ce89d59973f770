"""GRUB, started by EDK II."""

from __future__ import annotations

import re
from pathlib import Path
from typing import TYPE_CHECKING, ClassVar

from .. import disk
from ..tools import REPOSITORY, cached, digest, require, run
from .base import Loader

if TYPE_CHECKING:
    from ..vm import Vm

OVMF = Path("/usr/share/OVMF")
CONFIGURATION = REPOSITORY / "recipes-core/grub/files/grub.cfg.in"
START = REPOSITORY / "recipes-core/grub/files/cfg"
APPEND = REPOSITORY / "recipes-core/grub/grub-efi_%.bbappend"
RECIPE = REPOSITORY / "recipes-core/grub/edgelet-grub-config_0.1.bb"
ENVIRONMENT = "/boot/EFI/BOOT/grubenv"
DOWN = "\x1b[B"


class Grub(Loader):
    """Keeps its variables in two files; programs of the system write to one."""

    partition_table = REPOSITORY / "files/wic/edgelet-efi.wks.in"
    label = "efi"
    rauc = {"BOOTLOADER": "grub", "BOOTLOADER_OPTIONS": "grubenv=/boot/EFI/BOOT/grubenv"}
    files: ClassVar[dict[str, Path]] = {}
    attempts = 3
    no_slot = ("slot A has no kernel", "no slot could be started", "Start slot B")

    def partition(self) -> Path:
        configuration = CONFIGURATION.read_text().replace("@KERNEL_ARGS@", self.arguments)

        def make(path: Path) -> None:
            require("grub-mkimage")
            program = path.with_name(path.name + ".grub")
            run("grub-mkimage", "-O", "x86_64-efi", "-p", "/EFI/BOOT", "-c", START, "-o", program, *_modules())
            disk.fat(path, disk.size_of(self.partition_table, self.label), {
                "EFI/BOOT/bootx64.efi": program,
                "EFI/BOOT/grub.cfg": configuration.encode(),
                "EFI/BOOT/grubenv": _environment(),
                "EFI/BOOT/grubenv.2": _environment(),
            }, self.label)
            program.unlink()

        inputs = digest(configuration, _modules(), _environment(), START, Path(__file__))
        return cached(f"loader-{self.machine.arch}", inputs, make)

    def firmware(self, folder: Path) -> list[str]:
        code, variables = OVMF / "OVMF_CODE_4M.fd", folder / "OVMF_VARS.fd"
        if not variables.exists():
            variables.write_bytes((OVMF / "OVMF_VARS_4M.fd").read_bytes())
        return ["-drive", f"if=pflash,format=raw,unit=0,readonly=on,file={code}",
                "-drive", f"if=pflash,format=raw,unit=1,file={variables}"]

    def order(self, vm: Vm) -> str:
        return _says(vm)["ORDER"]

    def is_good(self, vm: Vm, slot: str) -> bool:
        said = _says(vm)
        return said[f"{slot}_OK"] == "1" and said[f"{slot}_TRY"] == "0"

    def is_given_up(self, vm: Vm, slot: str) -> bool:
        return _says(vm)[f"{slot}_TRY"] == str(self.attempts)

    def pending(self, vm: Vm) -> str:
        return _says(vm).get("pending", "")

    def damage_variables(self, vm: Vm) -> None:
        vm.ok(f": >{ENVIRONMENT} && sync {ENVIRONMENT}")

    def reset_from_console(self, vm: Vm, since: int) -> None:
        vm.wait_console("Esc for the menu", since=since)
        vm.type("\x1b")
        vm.wait_console("Slot A, factory reset", since=since)
        vm.type(DOWN * 3 + "\n")


def _modules() -> list[str]:
    """Those that the recipe builds in, and none else: one that is missing has to be missed here."""
    found = re.search(r'^GRUB_BUILDIN\S* = "([^"]*)"', APPEND.read_text(), re.MULTILINE)
    return found.group(1).replace("\\", " ").split()


def _environment() -> bytes:
    """GRUB's variables as the recipe writes them."""
    block = re.search(r"printf '(# GRUB Environment Block\\n[^']*)'", RECIPE.read_text()).group(1)
    return block.replace("\\n", "\n").encode().ljust(1024, b"#")


def _says(vm: Vm) -> dict[str, str]:
    text = vm.ok(f"tr -d '#' <{ENVIRONMENT}")
    return dict(line.split("=", 1) for line in text.splitlines() if "=" in line)

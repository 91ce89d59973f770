"""U-Boot, built with the settings of the layer, and the layer's script."""

from __future__ import annotations

import re
import tarfile
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING

from .. import disk
from ..packages import mirror
from ..tools import REPOSITORY, Failure, cached, digest, require, run
from .base import Loader

if TYPE_CHECKING:
    from ..vm import Vm

# As Debian 13 has it, the oldest with all that the script needs; the layers have a newer one.
SOURCE = "pool/main/u/u-boot/u-boot_2025.01.orig.tar.bz2"
SHA256 = "cdef7d507c93f1bbd9f015ea9bc21fa074268481405501945abc6f854d5b686f"
FILES = REPOSITORY / "recipes-core/u-boot/files"
SETTINGS = (FILES / "edgelet.cfg", FILES / "edgelet-env-virtio.cfg")
ENVIRONMENT_BYTES = "0x4000"
# An older name of a setting of ours; and a tool that nobody here needs.
OLDER_SETTINGS = "CONFIG_SYS_REDUNDAND_ENVIRONMENT=y\n# CONFIG_TOOLS_MKEFICAPSULE is not set\n"
NOT_THERE_YET = ("CONFIG_ENV_REDUNDANT",)


class UBoot(Loader):
    """Keeps its variables in two files, and writes to the older one."""

    partition_table = REPOSITORY / "files/wic/edgelet-uboot.wks.in"
    label = "boot"
    rauc = {"BOOTLOADER": "uboot", "BOOTLOADER_OPTIONS": "boot-attempts=3"}
    files = {"/etc/fw_env.config": FILES / "fw_env.config"}
    attempts = 3
    no_slot = ("slot A cannot be started", "slot B cannot be started", "no slot could be started",
               "Ctrl-C gives a prompt")

    def partition(self) -> Path:
        built = self._built()
        script = self._script()

        def make(path: Path) -> None:
            require("mkimage")
            text, image = path.with_suffix(".cmd"), path.with_suffix(".scr")
            text.write_text(script)
            run("mkimage", "-A", self.machine.uboot.arch, "-T", "script", "-C", "none", "-d", text, image)
            # The variables twice, as IMAGE_BOOT_FILES of the image recipe has them.
            disk.fat(path, disk.size_of(self.partition_table, self.label), {
                "boot.scr": image,
                "uboot.env": built / "initial-env.bin",
                "uboot-redund.env": built / "initial-env.bin",
            }, self.label)
            text.unlink()
            image.unlink()

        return cached(f"loader-{self.machine.arch}", digest(script, built.name, Path(__file__)), make)

    def _script(self) -> str:
        script = (FILES / "boot.cmd.in").read_text()
        for name, value in {
            "KERNEL_ARGS": self.arguments,
            "DTB": "",
            "BOOT_COMMAND": self.machine.uboot.boot_command,
        }.items():
            script = script.replace(f"@{name}@", value)
        return script

    def _built(self) -> Path:
        """A folder with U-Boot and its default variables, which take minutes."""
        how = self.machine.uboot

        def make(folder: Path) -> None:
            require("make", "bison", "flex", "bc", "mkenvimage", f"{how.compiler}gcc")
            with tempfile.TemporaryDirectory(prefix="edgelet-u-boot-") as name:
                with tarfile.open(_source()) as source:
                    source.extractall(name, filter="tar")
                tree = next(Path(name).iterdir())
                make_ = ("make", "-C", tree, f"CROSS_COMPILE={how.compiler}", "-j2", "-s")
                run(*make_, how.defconfig)
                with open(tree / ".config", "a", encoding="ascii") as settings:
                    settings.write("".join(file.read_text() for file in SETTINGS) + OLDER_SETTINGS)
                run(*make_, "olddefconfig")
                _all_kept((tree / ".config").read_text())
                run(*make_, "all", "u-boot-initial-env")
                folder.mkdir()
                (tree / "u-boot.bin").rename(folder / "u-boot.bin")
                run("mkenvimage", "-r", "-s", ENVIRONMENT_BYTES, "-o", folder / "initial-env.bin",
                    tree / "u-boot-initial-env")

        return cached(f"u-boot-{self.machine.arch}", digest(SHA256, how.defconfig, *SETTINGS, Path(__file__)), make)

    def firmware(self, folder: Path) -> list[str]:
        return [self.machine.uboot.option, str(self._built() / "u-boot.bin")]

    def order(self, vm: Vm) -> str:
        return _says(vm)["BOOT_ORDER"]

    def is_good(self, vm: Vm, slot: str) -> bool:
        return _says(vm)[f"BOOT_{slot}_LEFT"] == str(self.attempts)

    def is_given_up(self, vm: Vm, slot: str) -> bool:
        return _says(vm)[f"BOOT_{slot}_LEFT"] == "0"

    def pending(self, vm: Vm) -> str:
        return _says(vm).get("pending", "")

    def damage_variables(self, vm: Vm) -> None:
        # The newer of the two, which is what a cut would hit.
        vm.ok("fw_setenv test 1 && fw_setenv test && newer=$(ls -t /boot/uboot*.env | head -n 1) && "
              "dd if=/dev/zero of=$newer bs=4096 count=1 conv=notrunc,fsync")

    def reset_from_console(self, vm: Vm, since: int) -> None:
        vm.wait_console("Hit any key to stop autoboot", since=since)
        vm.type(" ")
        vm.wait_console("=> ", since=since)
        vm.type("setenv extra_args edgelet.reset=all; boot\n")


def _source() -> Path:
    """The archive, from Debian's mirror."""

    def make(path: Path) -> None:
        run("curl", "-fsSL", "-o", path, f"{mirror()}/{SOURCE}")
        found = run("sha256sum", path).split()[0]
        if found != SHA256:
            raise Failure(f"{mirror()}/{SOURCE} is not what it was: SHA-256 {found}")

    return cached("u-boot.tar.bz2", SHA256[:20], make)


def _all_kept(configuration: str) -> None:
    """A setting that this U-Boot does not know, or that something else forbids, would be missed much later."""
    has = _settings(configuration)
    for text in (*(file.read_text() for file in SETTINGS), OLDER_SETTINGS):
        for name, value in _settings(text).items():
            if has.get(name, "n") != value and name not in NOT_THERE_YET:
                raise Failure(f"this U-Boot has {name}={has.get(name, 'n')}, and not {value}")


def _settings(text: str) -> dict[str, str]:
    """Kconfig's form; what is not set is n."""
    unset = dict.fromkeys(re.findall(r"^# (CONFIG_\w+) is not set$", text, re.MULTILINE), "n")
    return unset | dict(re.findall(r"^(CONFIG_\w+)=(.*)$", text, re.MULTILINE))


def _says(vm: Vm) -> dict[str, str]:
    return dict(line.split("=", 1) for line in vm.ok("fw_printenv").splitlines() if "=" in line)

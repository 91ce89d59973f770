"""The loader of a machine, as the rest of the tests sees it."""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, ClassVar

from ..machines import Machine

if TYPE_CHECKING:
    from ..vm import Vm


@dataclass(frozen=True)
class Loader(ABC):
    """What is in front of the kernel: a file system with it, how QEMU starts it, and what it says of the slots."""

    machine: Machine

    partition_table: ClassVar[Path]
    label: ClassVar[str]
    """Of its partition."""
    rauc: ClassVar[dict[str, str]]
    """What the configuration of RAUC says of it."""
    files: ClassVar[dict[str, Path]]
    """What its recipes put into the root."""
    attempts: ClassVar[int]
    """For each slot, until it is marked good."""
    no_slot: ClassVar[tuple[str, ...]]
    """What the console shows when neither slot has a kernel."""

    @property
    def arguments(self) -> str:
        """Of the kernel, beside those that the loader's script makes."""
        return f"gpt panic=30 quiet console={self.machine.console}"

    @abstractmethod
    def partition(self) -> Path:
        """The content of its partition as the image has it."""

    @abstractmethod
    def firmware(self, folder: Path) -> list[str]:
        """Arguments of QEMU. `folder` is the machine's own."""

    @abstractmethod
    def order(self, vm: Vm) -> str:
        """Slots in the order in which they are tried."""

    @abstractmethod
    def is_good(self, vm: Vm, slot: str) -> bool:
        """Whether all attempts for a slot are there."""

    @abstractmethod
    def is_given_up(self, vm: Vm, slot: str) -> bool:
        """Whether there is no attempt left for a slot."""

    @abstractmethod
    def pending(self, vm: Vm) -> str:
        """The slot that has to prove itself; empty when there is none."""

    @abstractmethod
    def damage_variables(self, vm: Vm) -> None:
        """Leaves what a cut leaves that hits a program of the system while it writes the variables."""

    @abstractmethod
    def reset_from_console(self, vm: Vm, since: int) -> None:
        """Orders a factory reset as a person would whose device has just been switched on. `since`: of the console."""

"""The loader of a machine: GRUB where there is UEFI, and U-Boot elsewhere."""

from ..machines import Machine
from .base import Loader
from .grub import Grub
from .uboot import UBoot


def of(machine: Machine) -> Loader:
    """The one that this machine has."""
    return UBoot(machine) if machine.uboot else Grub(machine)

"""What differs between the machines."""

from dataclasses import dataclass


@dataclass(frozen=True)
class Machine:
    """One kind of machine. Names on the left are the ones that `--arch` takes."""

    arch: str
    """As in agent/target/dist."""
    machine: str
    """MACHINE of the layer, part of what RAUC compares."""
    debian: str
    """Debian's name of the architecture."""
    kernel: str
    """The package with the kernel."""
    qemu: tuple[str, ...]
    """The emulator, and what it needs to be this machine."""
    console: str


ALL = {
    "x86_64": Machine(
        arch="x86_64",
        machine="qemux86-64",
        debian="amd64",
        # Not the smaller one for clouds: it has no f2fs.
        kernel="linux-image-amd64",
        # Without cx16: QEMU 7.2 emulates cmpxchg16b wrongly, and Linux crashes in its allocator.
        qemu=("qemu-system-x86_64", "-machine", "q35", "-cpu", "max,-cx16"),
        console="ttyS0",
    ),
}

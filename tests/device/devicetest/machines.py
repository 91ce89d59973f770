"""What differs between the machines."""

from dataclasses import dataclass


@dataclass(frozen=True)
class UBoot:
    """How U-Boot is built for a machine, and what its script does there."""

    defconfig: str
    compiler: str
    """Prefix of the cross compiler's names."""
    arch: str
    """As mkimage calls it."""
    boot_command: str
    """As the recipe of the script has it for this form of kernel."""
    option: str
    """By which QEMU takes the loader."""


@dataclass(frozen=True)
class Machine:
    """One kind of machine. Names on the left are the ones that `--arch` takes."""

    arch: str
    """As in agent/target/dist."""
    machine: str
    """MACHINE of the layer, part of what RAUC compares."""
    debian: str
    """Debian's name of the architecture."""
    oci: str
    """The image-spec's name of it."""
    kernel: str
    """The package with the kernel."""
    qemu: tuple[str, ...]
    """The emulator, and what it needs to be this machine."""
    console: str
    uboot: UBoot | None = None
    """None where GRUB is the loader."""


ALL = {
    machine.arch: machine
    for machine in (
        Machine(
            arch="x86_64",
            machine="qemux86-64",
            debian="amd64",
            oci="amd64",
            # Not the smaller one for clouds: it has no f2fs.
            kernel="linux-image-amd64",
            # Without cx16: QEMU 7.2 emulates cmpxchg16b wrongly, and Linux crashes in its allocator.
            # Without erms and fsrm: QEMU clears and copies pages byte by byte where they are there, and a boot
            # takes half a minute longer.
            qemu=("qemu-system-x86_64", "-machine", "q35", "-cpu", "max,-cx16,-erms,-fsrm"),
            console="ttyS0",
        ),
        Machine(
            arch="aarch64",
            machine="qemuarm64",
            debian="arm64",
            oci="arm64",
            kernel="linux-image-arm64",
            # Not max: its pointer authentication takes half of the time.
            qemu=("qemu-system-aarch64", "-machine", "virt", "-cpu", "cortex-a57"),
            console="ttyAMA0",
            uboot=UBoot("qemu_arm64_defconfig", "aarch64-linux-gnu-", "arm64", "booti", "-bios"),
        ),
        Machine(
            arch="armv7",
            machine="qemuarm",
            debian="armhf",
            oci="arm",
            kernel="linux-image-armmp",
            # A processor of 32 bits does not reach PCI where it is without highmem=off.
            qemu=("qemu-system-arm", "-machine", "virt,highmem=off", "-cpu", "cortex-a15"),
            console="ttyAMA0",
            uboot=UBoot("qemu_arm_defconfig", "arm-linux-gnueabihf-", "arm", "bootz", "-bios"),
        ),
        Machine(
            arch="riscv64",
            machine="qemuriscv64",
            debian="riscv64",
            oci="riscv64",
            kernel="linux-image-riscv64",
            # OpenSBI comes with QEMU.
            qemu=("qemu-system-riscv64", "-machine", "virt"),
            console="ttyS0",
            uboot=UBoot("qemu-riscv64_smode_defconfig", "riscv64-linux-gnu-", "riscv", "booti", "-kernel"),
        ),
    )
}

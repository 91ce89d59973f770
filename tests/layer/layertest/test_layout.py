"""The layout of the medium is written down in several languages; here they are compared.

The contract is the table of docs/device/layout.md.
"""

import re
import unittest

from .tools import REPOSITORY, text, tracked, value

SIZES = {"EDGELET_KERNEL_SLOT_SIZE": 48, "EDGELET_ROOTFS_SLOT_SIZE": 256}
LABELS = ["loader", "kernel-a", "kernel-b", "rootfs-a", "rootfs-b", "data"]
LOADER = {"edgelet-efi.wks.in": "efi", "edgelet-uboot.wks.in": "boot", "edgelet-beaglebone.wks.in": "boot"}
GRUB = "recipes-core/grub/files/grub.cfg.in"
UBOOT = "recipes-core/u-boot/files/boot.cmd.in"
INITRAMFS = "recipes-core/edgelet-initramfs/files"
OS_BASE = "recipes-core/edgelet-os-base/files"


def partitions(wks: str) -> list[tuple[str, str, str]]:
    """Label, size and source of each numbered partition."""
    out = []
    for line in wks.splitlines():
        if line.startswith("part ") and "--no-table" not in line:
            label = re.search(r"--part-name (\S+)", line)
            size = re.search(r"--fixed-size (\S+)", line)
            source = re.search(r'file=\S+\.(\w+)"', line)
            out.append((label.group(1), size.group(1), source.group(1) if source else ""))
    return out


class Layout(unittest.TestCase):
    """Numbers, labels, sizes."""

    def test_partition_tables(self):
        """Every table has the six partitions in order, and each slot gets the image of its class."""
        found = {path.name for path in tracked("files/wic/*.wks.in")}
        self.assertEqual(found, set(LOADER))
        for name, loader in LOADER.items():
            kernel, rootfs = "${EDGELET_KERNEL_SLOT_SIZE}M", "${EDGELET_ROOTFS_SLOT_SIZE}M"
            expected = [(loader, "64M", ""), ("kernel-a", kernel, "kernelslot"), ("kernel-b", kernel, "kernelslot"),
                        ("rootfs-a", rootfs, "verity"), ("rootfs-b", rootfs, "verity"), ("data", "64M", "")]
            self.assertEqual(partitions(text(f"files/wic/{name}")), expected, name)
            self.assertIn("bootloader --ptable gpt", text(f"files/wic/{name}"))

    def test_loader_in_front_of_the_partitions(self):
        """What is written beside the table lies behind it and before the first partition."""
        for line in text("files/wic/edgelet-beaglebone.wks.in").splitlines():
            if "--no-table" in line:
                offset = int(re.search(r"--align (\d+)", line).group(1))
                self.assertGreaterEqual(offset, 17, line)
                self.assertLess(offset, 4096, line)

    def test_documentation(self):
        """The table that people read."""
        rows = re.findall(r"^\| ([\d, ]+) \| (.+?) \| .+? \| (.+?) \|$", text("docs/device/layout.md"), re.MULTILINE)
        told = {int(number): re.findall(r"`([\w-]+)`", labels)[place if "," in numbers else slice(None)]
                for numbers, labels, _ in rows for place, number in enumerate(numbers.split(", "))}
        self.assertEqual(told, {1: ["efi", "boot"]} | {n: LABELS[n - 1] for n in (2, 3, 4, 5)} | {6: ["data"]})
        for variable, size in SIZES.items():
            self.assertIn(f"`{variable}`, {size} MiB", text("docs/device/layout.md"))

    def test_sizes(self):
        """The distribution's defaults."""
        for variable, size in SIZES.items():
            self.assertEqual(value(text("conf/distro/edgelet-os.conf"), variable), str(size))

    def test_rauc(self):
        """Slots of RAUC: group by group, with the loader's names."""
        slots = re.findall(r"^\[slot\.(\w+)\.(\d)\]\ndevice=/dev/disk/edgelet/(\S+)\ntype=raw\n(\S+)$",
                           text("recipes-core/rauc/files/system.conf.in"), re.MULTILINE)
        self.assertEqual(sorted(slots), [
            ("kernel", "0", "kernel-a", "parent=rootfs.0"), ("kernel", "1", "kernel-b", "parent=rootfs.1"),
            ("rootfs", "0", "rootfs-a", "bootname=A"), ("rootfs", "1", "rootfs-b", "bootname=B")])

    def test_bundle(self):
        """A bundle carries an image for each class of slot, for the machine that the system says it is."""
        bundle = text("recipes-core/bundles/edgelet-bundle.bb")
        self.assertEqual(sorted(value(bundle, "RAUC_BUNDLE_SLOTS").split()), ["kernel", "rootfs"])
        self.assertEqual(value(bundle, "RAUC_BUNDLE_FORMAT"), "verity")
        compatible = value(bundle, "RAUC_BUNDLE_COMPATIBLE").replace("${MACHINE}", "@MACHINE@")
        self.assertIn(f"\ncompatible={compatible}\n", text("recipes-core/rauc/files/system.conf.in"))

    def test_grub(self):
        """Partition numbers in GRUB's script."""
        script = text(GRUB)
        self.assertEqual(re.findall(r'"\$1" = A \]; then set slot="\(\$disk,gpt(\d)\)"; else set slot="\(\$disk,gpt(\d)\)"',
                                    script), [("2", "3")])
        self.assertEqual(set(re.findall(r"gpt(\d)\)", script)), {"2", "3", "6"})

    def test_uboot(self):
        """Partition numbers in U-Boot's script."""
        script = text(UBOOT)
        self.assertEqual(re.findall(r"= (\w) -a .*\n.*\n\s+setenv part (\d)", script), [("A", "2"), ("B", "3")])
        self.assertEqual(re.findall(r"\$\{devnum\}:(\d)", script), ["6"])

    def test_loaders_speak_to_the_initramfs(self):
        """Parameters that the initramfs and the boot health read are those that loaders and the slot's files pass."""
        scripts = "".join(path.read_text() for path in tracked(f"{INITRAMFS}/*"))
        health = text("recipes-core/edgelet-os-base/files/loader.sh")
        read = set(re.findall(r"\$\(parameter ([\w.]+)\)", scripts))
        read |= {name.replace("\\", "") for name in re.findall(r"'(edgelet\\\.\w+)=1'", health)}
        slot = set(re.findall(r"\b(edgelet\.\w+)=\$", text("files/slots/make-verity")))
        for script in (GRUB, UBOOT):
            passed = set(re.findall(r"\b((?:rauc|edgelet)\.\w+)=", text(script)))
            # From U-Boot's prompt a person gives it by extra_args.
            self.assertEqual(read, passed | slot | {"edgelet.reset"}, script)

    def test_data(self):
        """A factory reset makes the file system that the image had."""
        options = {re.search(r'--mkfs-extraopts "([^"]*)"', path.read_text()).group(1) for path in tracked("files/wic/*")}
        self.assertEqual(len(options), 1)
        self.assertIn(f' {options.pop()} "$1"', text(f"{INITRAMFS}/reset.sh"))

    def test_initramfs(self):
        """Labels that the initramfs looks for."""
        scripts = "".join(path.read_text() for path in tracked(f"{INITRAMFS}/*"))
        self.assertEqual(set(re.findall(r"\$\(partition ([a-z-]+)\)", scripts)), {"data"})
        self.assertIn('open_root "rootfs-$suffix"', scripts)

    def test_attempts(self):
        """Everybody gives a slot three: the loaders, RAUC, and the boot health that takes them away."""
        self.assertIn("test -n \"${BOOT_A_LEFT}\" || setenv BOOT_A_LEFT 3", text(UBOOT))
        self.assertIn("boot-attempts=3", text("recipes-core/rauc/rauc-conf.bbappend"))
        self.assertEqual(set(re.findall(r'_TRY" != (\d)', text(GRUB))), {"3"})
        self.assertIn('loader_set "$1_TRY" $((3 - $2))', text(f"{OS_BASE}/loader.sh"))
        self.assertIn("The loader gives a slot three attempts", text("docs/device/layout.md"))

    def test_limits(self):
        """The times that people read are those that count."""
        self.assertIn("OnStartupSec=15min\n", text(f"{OS_BASE}/edgelet-boot-deadline.timer"))
        health = text(f"{OS_BASE}/boot-health")
        self.assertIn("LIMIT_S=300\n", health)
        self.assertIn("within 5 minutes", health)
        self.assertIn("within 15 minutes", health)
        self.assertIn("six facts within five minutes", text("docs/device/layout.md"))
        self.assertIn("within fifteen minutes", text("docs/device/layout.md"))
        self.assertIn("starts again 15 minutes after its start", text("docs/device/recovery.md"))
        self.assertIn("starts again after 5 minutes", text("docs/device/recovery.md"))

    def test_slot_files(self):
        """Names in the kernel slot: what is made is what is loaded."""
        made = set(re.findall(r'"\$files/([\w.]+)"', text("files/slots/make-kernel-slot")))
        self.assertEqual(made, {"kernel", "initramfs", "slot.cfg", "slot.env", "dtb"})
        for name in ("kernel", "initramfs", "slot.cfg"):
            self.assertIn(f"$slot/{name}", text(GRUB))
        for name in ("kernel;", "initramfs;", "slot.env ", "dtb/@DTB@;"):
            self.assertIn(f"}} {name}", text(UBOOT))

    def test_loaders_variables(self):
        """fstab mounts the loader's partition where RAUC and fw_setenv look for the variables."""
        self.assertRegex(text("recipes-core/base-files/files/fstab.in"), r"(?m)^/dev/disk/edgelet/@LOADER_LABEL@ /boot vfat ")
        append = text("recipes-core/base-files/base-files_%.bbappend")
        self.assertIn("'efi' if d.getVar('EDGELET_LOADER') == 'grub' else 'boot'", append)
        self.assertIn("grubenv=/boot/EFI/BOOT/grubenv", text("recipes-core/rauc/rauc-conf.bbappend"))
        image = text("recipes-core/images/edgelet-image.inc")
        self.assertIn("grubenv;EFI/BOOT/grubenv", image)
        fragment = text("recipes-core/u-boot/files/edgelet.cfg")
        size = re.search(r"^CONFIG_ENV_SIZE=(\S+)$", fragment, re.MULTILINE).group(1)
        files = re.findall(r'^CONFIG_ENV_FAT_FILE\w*="(\S+)"$', fragment, re.MULTILINE)
        tools = re.findall(r"^/boot/(\S+) 0x0000 (\S+)$", text("recipes-core/u-boot/files/fw_env.config"), re.MULTILINE)
        self.assertEqual(tools, [(name, size) for name in files])
        self.assertEqual(re.findall(r"bin;(\S+) ", image), files)
        self.assertEqual(value(text("recipes-core/u-boot/u-boot_%.bbappend"), "UBOOT_INITIAL_ENV_BINARY_SIZE:edgelet-os"), size)

    def test_grub_modules(self):
        """The modules that the script says it needs are built in."""
        needs = re.search(r"^# Needs the modules: (.*)$", text(GRUB), re.MULTILINE).group(1).split()
        built = value(text("recipes-core/grub/grub-efi_%.bbappend"), "GRUB_BUILDIN:edgelet-os").split()
        self.assertEqual(set(needs) - set(built), set())

    def test_state(self):
        """Every place that the initramfs shows on the root is there, or is made in memory below /var."""
        shown = re.findall(r"^\s+(?:\[.*\|\| )?show \S+ (\S+) \d+$", text(f"{INITRAMFS}/state.sh"), re.MULTILINE)
        self.assertGreaterEqual(len(shown), 4)
        for place in shown:
            # The agent's recipe makes the first; only the development image has the second.
            self.assertTrue(place.startswith("var/") or place in ("etc/edgelet", "etc/dropbear"), place)
        self.assertTrue((REPOSITORY / "files/slots/make-verity").exists())

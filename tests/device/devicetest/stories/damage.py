"""What goes wrong in the field: each has a message, the machine stays reachable, and there is a way out."""

import re
import time

from ..disk import MIB
from ..story import MEDIA, SERVES, Story, check, expect, plug_media, slot, wait_good
from ..vm import BOOT_S, Vm


class RootDamaged(Story):
    """Blocks of a root that are not what its hash says."""

    @check
    def a_wrong_block_is_detected_and_the_other_slot_starts(self) -> None:
        medium = self.lab.disk("root-damaged")
        size = self.lab.release("first").size
        # The tables of the squashfs: read by every boot.
        medium.overwrite("rootfs-a", size - 64 * 1024, b"wrong" * 4096)
        self.vm = self.power_on(medium)
        self.vm.wait_console(r"edgelet-os: starting slot A")
        self.vm.wait_console(r"verity.*corrupted|verification failed")
        self.vm.wait_ready()
        expect(slot(self.vm) == "B", "the damaged slot runs")
        wait_good(self.vm)

    @check
    def a_slot_whose_hash_is_of_another_root_is_not_started(self) -> None:
        # The kernel slot of an older release with the root of a newer: what a cut between the two would leave.
        self.vm.kill()
        medium = self.lab.disk("root-damaged")
        medium.write("rootfs-a", self.lab.release("second").rootfs)
        seen = len(self.vm.console())
        self.vm.start()
        self.vm.wait_console(r"verity.*metadata block \d+ is corrupted", since=seen)
        self.vm.wait_ready()
        expect(slot(self.vm) == "B", "the slot with two halves runs")
        wait_good(self.vm)


class RootDamagedLater(Story):
    """A block that no boot reads after the first, in a slot that has proven itself."""

    @check
    def a_cut_makes_the_device_read_its_root_and_leave_the_slot(self) -> None:
        medium = self.lab.disk(self.name())
        vm = self.power_on(medium)
        vm.wait_ready()
        wait_good(vm)
        expect(slot(vm) == "A", "the first boot is not of slot A")
        vm.kill()
        medium.overwrite("rootfs-a", self.lab.seldom_read("first"), b"wrong" * 100)
        seen = len(vm.console())
        vm.start()
        vm.wait_console("starting slot B", since=seen)
        vm.wait_ready(vm.boots() + 1)
        why = re.findall("reading the root of slot A|dm-verity device corrupted", vm.console()[seen:])
        expect(why == ["reading the root of slot A", "dm-verity device corrupted"] * 3, f"it is not the reading: {why}")
        expect(slot(vm) == "B", "the damaged slot runs")
        wait_good(vm)


class DataFull(Story):
    """Not a byte left for anybody."""

    @check
    def the_node_refuses_what_needs_space_and_the_workload_goes_on(self) -> None:
        self.vm = self.power_on(self.lab.disk("data-full"), media=self.lab.media(self.lab.bundle("second")))
        self.vm.wait_ready()
        wait_good(self.vm)
        plug_media(self.vm)
        # What is put aside for the next start stays.
        self.vm.run("fallocate -l $(findmnt -bno AVAIL /data) /data/filler; dd if=/dev/zero of=/data/filler2 bs=4k")
        free = int(self.vm.ok("findmnt -bno AVAIL /data"))
        expect(free == 0, f"the data partition has {free} bytes")
        done = self.vm.run(f"edgelet image load -f {MEDIA}/box")
        expect(done.code != 0 and "NO_SPACE" in done.output, f"it does not say NO_SPACE: {done.output}")
        expect(self.vm.run(SERVES).code == 0, "the workload does not serve")

    @check
    def it_starts_again_with_a_full_partition_and_is_good(self) -> None:
        self.vm.reboot()
        self.vm.wait_console("the data partition is full: starting with")
        wait_good(self.vm)
        expect(self.vm.boots() == 2, "it started more than once")
        expect("reading the root" not in self.vm.console(), "an end in order is not taken for one")

    @check
    def room_made_by_a_person_is_used_again(self) -> None:
        plug_media(self.vm)
        self.vm.ok(f"rm /data/filler /data/filler2 && edgelet image load -f {MEDIA}/box")


class DataDamaged(Story):
    """The file system is gone."""

    @check
    def it_starts_without_its_data_and_says_so(self) -> None:
        medium = self.lab.disk("data-damaged")
        with open(medium.path, "r+b") as file:
            file.seek(medium.partitions["data"].start)
            file.write(b"\xa5" * medium.partitions["data"].size)
        self.vm = self.power_on(medium)
        self.vm.wait_ready()
        self.vm.wait_console("cannot be repaired")
        without_data(self.vm, "damaged")

    @check
    def the_loader_makes_a_new_file_system(self) -> None:
        self.vm.kill()
        seen = len(self.vm.console())
        self.vm.start()
        self.lab.loader.reset_from_console(self.vm, seen)
        self.vm.wait_console("factory reset: making a new data file system", since=seen)
        self.vm.wait_ready()
        expect(self.vm.ok("cat /run/edgelet-os/data") == "ok", "the data partition is still not ok")
        wait_good(self.vm)


class Reset(Story):
    """A factory reset from the system, by somebody who keeps the device."""

    @check
    def everything_goes_but_who_the_device_is(self) -> None:
        vm = self.vm = self.power_on(self.lab.disk("reset"))
        vm.wait_ready()
        wait_good(vm)
        identity = vm.ok("cat /etc/machine-id /etc/hostname")
        private = "/data/private /data/.private /data/..private /data/lost+found/private"
        vm.ok(f"mkdir -p /data/lost+found && touch {private} && sync -f /data")
        vm.send("edgelet-os-reset --keep-identity")
        vm.wait_ready(2)
        expect(vm.run(f"ls -d {private}").output.count("No such file") == 4, "something private is still there")
        expect(vm.ok("cat /etc/machine-id /etc/hostname") == identity, "the device became another one")
        expect(vm.run("test -e /data/os/reset").code != 0, "it would be done again")
        wait_good(vm)

    @check
    def a_file_that_was_made_immutable_goes_too(self) -> None:
        identity = self.vm.ok("cat /etc/machine-id /etc/hostname")
        self.vm.ok("mkdir /data/own && touch /data/own/private && chattr +i /data/own/private && sync -f /data")
        self.vm.send("edgelet-os-reset --keep-identity")
        self.vm.wait_ready(3)
        expect(self.vm.run("ls -d /data/own").output.count("No such file") == 1, "it is still there")
        expect(self.vm.ok("cat /etc/machine-id /etc/hostname") == identity, "the device became another one")
        wait_good(self.vm)


class TableDamaged(Story):
    """The first copy of the partition table is not whole."""

    @check
    def the_second_copy_counts_and_both_are_written_again(self) -> None:
        medium = self.lab.disk("table-damaged")
        vm = self.power_on(medium)
        vm.wait_ready()
        vm.kill()
        expect(medium.table_is_whole(), "the first boot left something to mend")
        medium.damage_table()
        expect(not medium.table_is_whole(), "there is nothing to mend")
        vm.start()
        if self.lab.machine.uboot:
            # EDK II mends it before anybody else can.
            vm.wait_console("one of the two copies of the partition table is damaged")
        vm.wait_ready()
        wait_good(vm)
        vm.kill()
        expect(medium.table_is_whole(), "a copy is still damaged")


class DataMissing(Story):
    """The partition is not in the table."""

    @check
    def it_starts_without_its_data_and_says_so(self) -> None:
        medium = self.lab.disk("data-missing")
        medium.remove_partition("data")
        self.vm = self.power_on(medium)
        self.vm.wait_ready()
        self.vm.wait_console("there is no data partition")
        without_data(self.vm, "missing")

    @check
    def the_slot_is_marked_good_all_the_same(self) -> None:
        # Else each start would go to the other slot, and in the end to the loader's menu: docs/device/layout.md.
        expect(self.vm.run("systemctl is-active --quiet edgelet-boot-health").code == 0, "it is not marked good")


def without_data(vm: Vm, why: str) -> None:
    """A person can look, the node does not start from nothing, and the machine does not start again and again."""
    expect(vm.ok("cat /run/edgelet-os/data") == why, "/run/edgelet-os/data says something else")
    vm.wait_console("login:")
    vm.until("systemctl is-active --quiet edgelet-boot-health || systemctl is-failed --quiet edgelet-boot-health")
    expect(vm.run("systemctl is-active --quiet edgelet").code != 0, "the node runs without its data")
    expect(vm.ok("systemctl show -P AssertResult edgelet") == "no", "the node was not held back by its assertion")
    expect(vm.boots() == 1, "it started more than once")


class OneKernel(Story):
    """A kernel slot that cannot be read."""

    @check
    def the_other_slot_is_started_at_once(self) -> None:
        medium = self.lab.disk("one-kernel")
        medium.overwrite("kernel-a", 0, bytes(MIB))
        self.vm = self.power_on(medium)
        self.vm.wait_ready()
        expect(slot(self.vm) == "B", "the slot without a kernel runs")
        expect(self.vm.resets == 0, "the machine started again in between")
        wait_good(self.vm)


class NoSlot(Story):
    """Neither slot has a kernel: the loader stops, and does not go round for ever."""

    @check
    def the_loader_says_so_and_waits(self) -> None:
        medium = self.lab.disk("no-slot")
        for label in ("kernel-a", "kernel-b"):
            medium.overwrite(label, 0, bytes(MIB))
        vm = self.power_on(medium)
        for line in self.lab.loader.no_slot:
            vm.wait_console(line)
        resets = vm.resets
        time.sleep(20)
        expect(vm.resets == resets, "it does not wait")


class NoRoot(Story):
    """Both slots start and neither becomes good: rounds, and an end of them."""

    @check
    def each_slot_is_tried_in_three_rounds_and_then_the_loader_waits(self) -> None:
        medium = self.lab.disk("no-root")
        hashes = -(-self.lab.release("first").size // 4096) * 4096
        for label in ("rootfs-a", "rootfs-b"):
            medium.overwrite(label, hashes, bytes(4096))
        vm = self.power_on(medium)
        attempts = 3 * self.lab.loader.attempts
        vm.wait_console("became good,? in three rounds", timeout=BOOT_S * attempts)
        for name in "ab":
            count = len(re.findall(f"edgelet-os: rootfs-{name} is not what belongs to its kernel", vm.console()))
            expect(count == attempts, f"slot {name} was started {count} times, and not {attempts}")


class Nineteen70(Story):
    """A clock without a battery."""

    @check
    def a_clock_of_1970_becomes_a_plausible_one_and_the_workload_serves(self) -> None:
        vm = self.power_on(self.lab.disk("nineteen70"), clock="1970-01-01T00:00:10")
        vm.wait_ready()
        wait_good(vm)
        expect(int(vm.ok("date +%Y")) >= 2025, "the system lives in the past")
        vm.ok("edgelet system status")

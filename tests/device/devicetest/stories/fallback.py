"""Updates that are signed and whole, and must not stay."""

import time

from ..story import MEDIA, Story, check, expect, plug_media, slot, wait_good
from ..tools import say


class Sick(Story):
    """An update whose daemon ends as soon as it is started."""

    RELEASE = "sick"

    @check
    def the_device_returns_to_the_slot_before_by_itself(self) -> None:
        self.install()
        self.vm.reboot()
        expect(slot(self.vm) == "B" and self.vm.ok("cat /etc/edgelet-release") == self.RELEASE, "it was not tried")
        started = time.monotonic()
        self.vm.wait_ready(3, timeout=1500)
        say(f"{self.name()}: given up {time.monotonic() - started:.0f} s after it was up")
        self.is_back()

    def install(self) -> None:
        """The update is in slot B and has not been started."""
        self.medium = self.lab.disk(self.name())
        self.vm = self.power_on(self.medium, media=self.lab.media(self.lab.bundle(self.RELEASE)))
        self.vm.wait_ready()
        wait_good(self.vm)
        plug_media(self.vm)
        self.vm.ok(f"rauc install {MEDIA}/{self.RELEASE}.raucb", timeout=600)

    def is_back(self) -> None:
        """Slot A runs again and comes first; slot B is for nobody but a person."""
        expect(slot(self.vm) == "A" and self.vm.ok("cat /etc/edgelet-release") == "first", "it did not return")
        wait_good(self.vm)
        expect(self.lab.loader.is_given_up(self.vm, "B"), "the loader may try it again")
        self.vm.until("test -e /run/edgelet-os/good")
        expect(self.lab.loader.order(self.vm).startswith("A"), "the slot that was refused still comes first")

    @check
    def the_console_says_why(self) -> None:
        expect("did not prove itself" in self.vm.console(), "the console does not say why")


class Bare(Sick):
    """An update without the agent in it."""

    RELEASE = "bare"


class Stuck(Sick):
    """An update that never comes up: a unit at the start never ends."""

    RELEASE = "stuck"

    @check
    def the_console_says_why(self) -> None:
        expect("slot B did not come up in time" in self.vm.console(), "the console does not say why")


class Blind(Sick):
    """An update that finds no data partition, while it has to prove itself."""

    RELEASE = "second"

    @check
    def the_device_returns_to_the_slot_before_by_itself(self) -> None:
        self.install()
        self.vm.kill()
        self.medium.remove_partition("data")
        self.vm.start()
        self.vm.wait_ready(2, timeout=1500)
        expect("starting slot B" in self.vm.console(), "it was not tried")
        expect(slot(self.vm) == "A", "it stayed")
        self.vm.until("systemctl is-active --quiet edgelet-boot-health")
        expect(self.lab.loader.is_given_up(self.vm, "B"), "the loader may try it again")


class Unreadable(Sick):
    """An update on blocks that the medium cannot read any more, and that its start does not need."""

    RELEASE = "second"

    @check
    def the_device_returns_to_the_slot_before_by_itself(self) -> None:
        self.install()
        self.vm.kill()
        self.vm.unreadable = self.medium.partitions["rootfs-b"].start + self.lab.seldom_read(self.RELEASE)
        self.vm.start()
        self.vm.wait_ready(2, timeout=1500)
        self.is_back()

    @check
    def the_console_says_why(self) -> None:
        expect("the root of slot B cannot be read" in self.vm.console(), "the console does not say why")

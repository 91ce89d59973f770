"""Updates that are signed and whole, and must not stay."""

import time

from ..story import MEDIA, Story, check, expect, plug_media, slot, wait_good
from ..tools import say


class Sick(Story):
    """An update whose daemon ends as soon as it is started."""

    RELEASE = "sick"

    @check
    def the_device_returns_to_the_slot_before_by_itself(self) -> None:
        self.vm = self.power_on(self.lab.disk(self.name()), media=self.lab.media(self.lab.bundle(self.RELEASE)))
        self.vm.wait_ready()
        wait_good(self.vm)
        plug_media(self.vm)
        self.vm.ok(f"rauc install {MEDIA}/{self.RELEASE}.raucb", timeout=600)
        self.vm.reboot()
        expect(slot(self.vm) == "B" and self.vm.ok("cat /etc/edgelet-release") == self.RELEASE, "it was not tried")
        started = time.monotonic()
        self.vm.wait_ready(3, timeout=1500)
        say(f"{self.name()}: given up {time.monotonic() - started:.0f} s after it was up")
        expect(slot(self.vm) == "A" and self.vm.ok("cat /etc/edgelet-release") == "first", "it did not return")
        wait_good(self.vm)
        expect(self.lab.loader.is_given_up(self.vm, "B"), "the loader may try it again")

    @check
    def the_console_says_why(self) -> None:
        expect("did not prove itself" in self.vm.console(), "the console does not say why")


class Bare(Sick):
    """An update without the agent in it."""

    RELEASE = "bare"

"""The plug is pulled while an update is installed."""

import time

from ..story import MEDIA, SERVES, Story, check, expect, plug_media, slot, wait_good
from ..tools import say


class EarlyCuts(Story):
    """One medium, cut again and again in the first half of an install; it is never flashed anew."""

    # In parts of the time that an install takes.
    MOMENTS = (0.0, 0.5)

    @check
    def an_install_runs_through_once(self) -> None:
        self.vm = self.power_on(self.lab.disk(self.name()), media=self.lab.media(self.lab.bundle("second")))
        self.vm.wait_ready()
        wait_good(self.vm)
        plug_media(self.vm)
        started = time.monotonic()
        self.vm.ok(f"rauc install {MEDIA}/second.raucb", timeout=600)
        self.seconds = time.monotonic() - started

    @check
    def five_cuts_at_random_moments_of_an_install_are_each_followed_by_a_good_boot(self) -> None:
        moments = self.lab.random(self.name())
        for number in range(1, 6):
            moment = moments.uniform(*self.MOMENTS) * self.seconds
            plug_media(self.vm)
            self.vm.send(f"rauc install {MEDIA}/second.raucb >/run/install.log 2>&1")
            time.sleep(moment)
            took = self._start_again()
            say(f"{self.name()}: cut {number}, {moment:.2f} s into the install: slot {slot(self.vm)} was good "
                f"{took:.0f} s after power on")

    def _start_again(self) -> float:
        """The plug, and a good boot. Gives the seconds that it took."""
        self.vm.kill()
        self.vm.start()
        self.vm.wait_ready()
        wait_good(self.vm)
        expect(self.vm.ok("cat /run/edgelet-os/data") == "ok", "the data partition is not ok")
        expect(self.vm.ok("systemctl --failed --no-legend") == "", "units have failed")
        return time.monotonic() - self.vm.started


class LateCuts(EarlyCuts):
    """The same in the second half, and just after its end."""

    MOMENTS = (0.5, 1.1)

    @check
    def and_then_an_install_still_works(self) -> None:
        plug_media(self.vm)
        before = slot(self.vm)
        self.vm.ok(f"rauc install {MEDIA}/second.raucb", timeout=600)
        self.vm.reboot()
        expect(slot(self.vm) != before, "the other slot did not start")
        wait_good(self.vm)
        expect(self.vm.run(SERVES).code == 0, "the workload does not serve")


class ThreeCuts(Story):
    """The power fails in three starts in a row, which is no fault of the slot."""

    @check
    def the_other_slot_starts_and_says_so(self) -> None:
        self.vm = self.power_on(self.lab.disk(self.name()))
        self._cut(self.lab.loader.attempts)
        self._runs("B", because="it is tried once more")

    @check
    def the_first_slot_is_tried_once_more(self) -> None:
        self.vm.reboot()
        expect(slot(self.vm) == "A", f"slot {slot(self.vm)} runs")
        wait_good(self.vm)

    @check
    def and_not_without_end(self) -> None:
        self.vm.kill()
        self.vm.start()
        self._cut(self.lab.loader.attempts)
        self._runs("B", because="it is tried once more")
        self.vm.kill()
        self.vm.start()
        self._cut(1)
        self._runs("B", because="slot B stays")

    def _cut(self, times: int) -> None:
        """Just when slot A is started; and then the power is back."""
        for _ in range(times):
            self.vm.wait_console("edgelet-os: starting slot A", since=len(self.vm.console()))
            self.vm.kill()
            self.seen = len(self.vm.console())
            self.vm.start()

    def _runs(self, wanted: str, because: str) -> None:
        self.vm.wait_ready()
        expect(slot(self.vm) == wanted, f"slot {slot(self.vm)} runs")
        wait_good(self.vm)
        expect(because in self.vm.console()[self.seen:], f"the console does not say: {because}")

"""The plug is pulled while an update is installed."""

import time

from ..story import MEDIA, SERVES, Story, check, expect, plug_media, slot, wait_good
from ..tools import say

CUTS = 10


class Cuts(Story):
    """One medium, cut again and again; it never gets a chance to be flashed anew."""

    @check
    def an_install_runs_through_once(self) -> None:
        self.vm = self.power_on(self.lab.disk("cuts"), media=self.lab.media(self.lab.bundle("second")))
        self.vm.wait_ready()
        wait_good(self.vm)
        plug_media(self.vm)
        started = time.monotonic()
        self.vm.ok(f"rauc install {MEDIA}/second.raucb", timeout=600)
        self.seconds = time.monotonic() - started

    @check
    def ten_cuts_at_random_moments_of_an_install_are_each_followed_by_a_good_boot(self) -> None:
        moments = self.lab.random("cuts")
        for number in range(1, CUTS + 1):
            self.vm.kill()
            self.vm.start()
            self.vm.wait_ready()
            up = time.monotonic()
            wait_good(self.vm)
            expect(self.vm.ok("cat /run/edgelet-os/data") == "ok", "the data partition is not ok")
            expect(self.vm.ok("systemctl --failed --no-legend") == "", "units have failed")
            moment = moments.uniform(0, self.seconds * 1.1)
            say(f"cuts: {number}: slot {slot(self.vm)} was good {time.monotonic() - up:.0f} s after it was up; "
                f"next cut {moment:.2f} s into the install")
            plug_media(self.vm)
            self.vm.send(f"rauc install {MEDIA}/second.raucb >/run/install.log 2>&1")
            time.sleep(moment)
        self.vm.kill()
        self.vm.start()
        self.vm.wait_ready()
        wait_good(self.vm)

    @check
    def and_then_an_install_still_works(self) -> None:
        plug_media(self.vm)
        before = slot(self.vm)
        self.vm.ok(f"rauc install {MEDIA}/second.raucb", timeout=600)
        self.vm.reboot()
        expect(slot(self.vm) != before, "the other slot did not start")
        wait_good(self.vm)
        expect(self.vm.run(SERVES).code == 0, "the workload does not serve")

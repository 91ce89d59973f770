"""What a new slot is judged by: what its update changed, and nothing else."""

from ..story import MEDIA, Story, check, deploy, expect, plug_media, slot, wait_good

BROKEN = "edgelet-test-broken.service"
BOX = """
apiVersion: edgelet.iofog.org/v1
kind: Microservice
metadata: {name: box}
spec: {image: "edgelet/box:1"}
"""


class Judged(Story):
    """One medium that goes from update to update."""

    @check
    def a_bundle_for_another_machine_leaves_nothing_to_judge(self) -> None:
        media = self.lab.media(self.lab.bundle("second"), self.lab.foreign_bundle)
        self.vm = self.power_on(self.lab.disk("judged"), media=media)
        self.vm.wait_ready()
        wait_good(self.vm)
        plug_media(self.vm)
        for _ in ("first", "again"):
            done = self.vm.run(f"rauc install {MEDIA}/foreign.raucb")
            expect(done.code != 0 and "ompatible" in done.output, f"it does not say why: {done.output}")
        expect(self.lab.loader.pending(self.vm) == "B", "there is nothing to forget")
        self.vm.reboot()
        expect(slot(self.vm) == "A", "the other slot runs")
        wait_good(self.vm)
        expect(self.lab.loader.pending(self.vm) == "", "a slot that was not touched has to prove itself")

    @check
    def a_unit_that_failed_before_the_update_is_no_reason(self) -> None:
        self.vm.ok(f"touch /data/test-broken && ! systemctl start {BROKEN}")
        self._install()
        self.vm.reboot()
        expect(slot(self.vm) == "B", "the update was not tried")
        wait_good(self.vm)
        self._is_broken()

    @check
    def a_person_who_starts_the_machine_again_meanwhile_does_not_judge(self) -> None:
        self._install()
        self.vm.reboot()
        self.vm.until("systemctl is-active edgelet-boot-health | grep -q activating")
        self.vm.reboot()
        expect(slot(self.vm) == "A", "it was left without having been judged")
        expect(self.lab.loader.pending(self.vm) == "A", "it is believed before it has proven itself")
        wait_good(self.vm)

    @check
    def a_workload_that_is_taken_away_before_the_new_slot_starts_is_no_reason(self) -> None:
        self._deploy_another()
        self._install()
        self.vm.ok("edgelet ms rm edgelet.box")
        self.vm.reboot()
        expect(slot(self.vm) == "B", "the update was not tried")
        wait_good(self.vm)

    @check
    def an_update_that_runs_fewer_workloads_returns(self) -> None:
        self._deploy_another()
        self._install()
        self.vm.reboot()
        expect(slot(self.vm) == "A", "the update was not tried")
        # As if this release could not run it.
        self.vm.until("edgelet ms rm edgelet.box")
        self._returns("B", because="2 workloads ran before the update, and 1 do now")

    @check
    def an_update_with_a_unit_that_fails_now_returns(self) -> None:
        self.vm.ok(f"rm /data/test-broken && systemctl reset-failed {BROKEN}")
        self._install()
        self.vm.ok("touch /data/test-broken")
        self.vm.reboot()
        expect(slot(self.vm) == "A", "the update was not tried")
        self._returns("B", because=f"units failed: {BROKEN}")
        self._is_broken()

    def _deploy_another(self) -> None:
        plug_media(self.vm)
        self.vm.ok(f"edgelet image load -f {MEDIA}/box && umount {MEDIA}")
        deploy(self.vm, BOX)
        self.vm.until("""edgelet -o json system status | grep -q '"runningMicroservices": *"2"'""")

    def _install(self) -> None:
        plug_media(self.vm)
        self.vm.ok(f"rauc install {MEDIA}/second.raucb && umount {MEDIA}", timeout=600)

    def _returns(self, wanted: str, because: str) -> None:
        self.vm.wait_ready(self.vm.boots() + 1, timeout=1500)
        expect(slot(self.vm) == wanted, "it did not return")
        expect(because in self.vm.console(), f"the console does not say: {because}")
        wait_good(self.vm)

    def _is_broken(self) -> None:
        expect(self.vm.run(f"systemctl is-failed --quiet {BROKEN}").code == 0, "nothing has failed")

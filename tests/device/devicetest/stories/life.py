"""From the first boot through a good update."""

import json
import re
import time

from ..story import MEDIA, SERVES, Story, check, deploy, expect, plug_media, slot, wait_good
from ..tools import say

BOX = """
apiVersion: edgelet.iofog.org/v1
kind: Microservice
metadata: {name: box}
spec:
  image: edgelet/box:1
  container: {memoryLimit: 16, memorySwap: 16, cpus: 0.2}
"""
CGROUP = "/sys/fs/cgroup/edgelet"
# A container by the OCI runtime alone, since a manifest has no words for these two limits.
OCI_CONFIG = {
    "ociVersion": "1.0.2",
    "root": {"path": "rootfs"},
    "mounts": [{"destination": "/proc", "type": "proc", "source": "proc"},
               {"destination": "/dev", "type": "tmpfs", "source": "tmpfs"}],
    "linux": {
        "namespaces": [{"type": kind} for kind in ("pid", "mount", "ipc", "uts", "network")],
        "cgroupsPath": "/edgelet-test",
    },
}


class Life(Story):
    """One medium, one machine without any network, and everything that it goes through."""

    @check
    def the_device_boots_to_a_login_and_serves_its_workload_without_a_network(self) -> None:
        media = self.lab.media(self.lab.bundle("second"), self.lab.bundle("second", self.lab.stranger))
        self.vm = self.power_on(self.lab.disk("life"), media=media)
        self.vm.wait_ready()
        self.vm.until(SERVES, pause=0.1)
        served, uptime = self._since_power_on(), float(self.vm.ok("cut -d' ' -f1 /proc/uptime"))
        self.vm.wait_console("login:")
        say(f"life: login {self._since_power_on():.1f} s and workload {served:.1f} s after power on")
        stamps = self._monotonic("systemctl show -p UserspaceTimestampMonotonic") | self._monotonic(
            "systemctl show edgelet -p ExecMainStartTimestampMonotonic -p ActiveEnterTimestampMonotonic")
        userspace = stamps["UserspaceTimestampMonotonic"]
        began, ready = stamps["ExecMainStartTimestampMonotonic"], stamps["ActiveEnterTimestampMonotonic"]
        say(f"life: userspace to workload serving {uptime - userspace:.1f} s; of that until edgelet is started "
            f"{began - userspace:.1f} s, edgelet until ready {ready - began:.1f} s, seed, start and serve "
            f"{uptime - ready:.1f} s (first boot, with loading the image)")
        expect(self.vm.ok("ls /sys/class/net").split() == ["lo"], "there is a network")
        wait_good(self.vm)
        expect(slot(self.vm) == "A", "the first boot is not of slot A")

    def _since_power_on(self) -> float:
        return time.monotonic() - self.vm.started

    def _monotonic(self, command: str) -> dict[str, float]:
        """Seconds since the kernel started."""
        lines = self.vm.ok(command).splitlines()
        return {name: int(value) / 1e6 for name, value in (line.split("=") for line in lines)}

    @check
    def the_root_is_read_only_and_verified(self) -> None:
        self._fact("findmnt -no FSTYPE,OPTIONS /", "squashfs ro,")
        expect(self.vm.run("touch /usr/here").code != 0, "/usr can be written")
        expect(self.vm.run("touch /etc/here").code != 0, "/etc can be written")
        self._fact("dmsetup --version >/dev/null 2>&1; cat /sys/block/dm-0/dm/uuid", "CRYPT-VERITY")
        release = self.lab.release("first")
        say(f"life: root {release.rootfs.stat().st_size / 2**20:.1f} MiB compressed and with its hash tree; "
            f"in it, before compression: {self._sizes()}")

    def _sizes(self) -> str:
        ours = self.vm.ok("cat /usr/bin/edgelet $(find /usr/libexec/edgelet* /usr/share/edgelet -type f) | wc -c")
        whole = self.vm.ok("du -sxb / --exclude=/data 2>/dev/null | cut -f1")
        return f"{int(whole) / 2**20:.1f} MiB, of which ours {int(ours) / 2**20:.1f} MiB"

    @check
    def data_has_a_partition_of_its_own_that_fills_the_medium(self) -> None:
        self._fact("findmnt -no SOURCE,FSTYPE /data", "/dev/vda6 ext4")
        expect(self.vm.ok("cat /run/edgelet-os/data") == "ok", "the data partition is not ok")
        free = int(self.vm.ok("echo $(( $(cat /sys/block/vda/size) - $(cat /sys/block/vda/vda6/start) "
                              "- $(cat /sys/block/vda/vda6/size) ))"))
        expect(free < 8192, f"{free} sectors behind the data partition are not used")
        size = int(self.vm.ok("findmnt -bno SIZE /data"))
        expect(size > 1_300_000_000, f"the file system has {size} bytes: it did not grow")
        self._fact("stat -c %s /data/os/ballast", str(4 << 20))

    @check
    def what_persists_is_on_the_data_partition(self) -> None:
        for place in ("/var/lib/edgelet", "/var/log/edgelet", "/etc/edgelet", "/etc/machine-id", "/etc/hostname",
                      "/var/lib/systemd/random-seed", "/var/lib/systemd/timesync"):
            self._fact(f"findmnt -no SOURCE {place}", "/dev/vda6[")
        self.vm.ok("test -s /var/lib/systemd/random-seed")
        self._fact("findmnt -no FSTYPE /var", "overlay")
        # Each start would write it to memory anew, for nothing.
        self._fact("systemctl show -P ConditionResult systemd-journal-catalog-update", "no")
        self._fact("hostname", "edgelet-")

    @check
    def the_serial_console_takes_a_login_and_commands(self) -> None:
        seen = self.vm.wait_console("login:")
        self.vm.type("root\n")
        seen = self.vm.wait_console(r"# ", since=seen)
        self.vm.type("edgelet ms ls\n")
        seen = self.vm.wait_console(r"hello\s+RUNNING", since=seen)
        self.vm.type("exit\n")
        self.vm.wait_console("login:", since=seen)

    @check
    def system_status_is_sane_as_json(self) -> None:
        status = json.loads(self.vm.ok("edgelet -o json system status"))
        facts = {"edgeletDaemon": "RUNNING", "runningMicroservices": "1", "cgroupMode": "v2",
                 "systemCpus": self.vm.ok("nproc"), "runtimeDegraded": False, "warningMessage": ""}
        for name, value in facts.items():
            expect(status.get(name) == value, f"{name} is {status.get(name)!r} and not {value!r}")
        total = int(self.vm.ok("findmnt -bno SIZE /data"))
        expect(int(status["systemTotalDisk"]) == total, f"disk {status['systemTotalDisk']} is not {total}")

    @check
    def every_controller_that_a_manifest_can_limit_reaches_the_workloads(self) -> None:
        expect(self.vm.run("mountpoint -q /sys/fs/cgroup/unified").code != 0, "cgroup v1 is there")
        kernel = set(self.vm.ok("cat /sys/fs/cgroup/cgroup.controllers").split())
        given = set(self.vm.ok(f"cat {CGROUP}/*/cgroup.controllers").split())
        wanted = {"cpuset", "cpu", "io", "memory", "pids"} | ({"hugetlb"} & kernel)
        expect(wanted <= given, f"workloads have only {sorted(given)}")
        say(f"life: controllers of the kernel {sorted(kernel)}, of a workload {sorted(given)}")

    @check
    def a_memory_limit_kills_what_takes_more(self) -> None:
        plug_media(self.vm)
        self.vm.ok(f"edgelet image load -f {MEDIA}/box")
        deploy(self.vm, BOX)
        inspected = self.vm.ok("edgelet -o json ms inspect edgelet.box")
        found = re.search(r'"containerId": *"([0-9a-f]{12,})', inspected)
        expect(found is not None, f"the box has no container: {inspected}")
        self.box = found.group(1)
        self.group = self.vm.ok(f"ls -d {CGROUP}/{self.box}*")
        self._fact(f"cat {self.group}/memory.max", str(16 * 2**20))
        done = self.vm.run("edgelet ms exec edgelet.box -- tail -c 64m /dev/zero")
        expect(done.code != 0, "64 MiB fit into 16 MiB")
        events = dict(line.split() for line in self.vm.ok(f"cat {self.group}/memory.events").splitlines())
        expect(int(events["oom_kill"]) >= 1, f"nothing was killed: {events}")

    @check
    def a_cpu_limit_slows_what_wants_more(self) -> None:
        before = self._cpu()
        self.vm.run("edgelet ms exec edgelet.box -- timeout 10 sh -c 'while :; do :; done'")
        after = self._cpu()
        used = (after["usage_usec"] - before["usage_usec"]) / 1e6
        expect(after["nr_throttled"] > before["nr_throttled"], "nothing was throttled")
        expect(0.5 < used < 3.5, f"10 s at 0.2 cores used {used:.1f} s of a core")
        self.vm.ok("edgelet ms rm edgelet.box")

    def _cpu(self) -> dict[str, int]:
        lines = self.vm.ok(f"cat {self.group}/cpu.stat").splitlines()
        return {name: int(value) for name, value in (line.split() for line in lines)}

    @check
    def a_limit_of_processes_stops_a_fork_bomb(self) -> None:
        script = "i=0; while [ $i -lt 40 ]; do sleep 5 & i=$((i+1)); done; wait"
        done = self._oci("pids", {"pids": {"limit": 12}}, script)
        expect("can't fork" in done or "Resource temporarily" in done, f"40 processes fit into 12: {done}")

    @check
    def an_io_limit_slows_what_writes_more(self) -> None:
        if self.lab.machine.arch == "armv7":
            # Until its clock of 32 bits has wrapped, five minutes after the start, Linux 6.12 panics here
            # ("kernel BUG at block/blk-throttle.c:583").
            self.vm.until("[ $(cut -d. -f1 /proc/uptime) -gt 310 ]", pause=10)
        # Past the page cache: that is where the kernel counts.
        script = "dd if=/dev/zero of=/out bs=1M count=4 oflag=direct 2>/dev/null; rm /out"
        major, minor = self.vm.ok("cat /sys/block/vda/dev").split(":")
        limit = [{"major": int(major), "minor": int(minor), "rate": 1024 * 1024}]
        free = self._seconds("io-free", {}, script)
        limited = self._seconds("io", {"blockIO": {"throttleWriteBpsDevice": limit}}, script)
        say(f"life: 4 MiB written in {free:.1f} s, and in {limited:.1f} s at 1 MiB/s")
        expect(limited >= 3 and limited > free + 2, f"the limit made {free:.1f} s only {limited:.1f} s")

    def _seconds(self, name: str, resources: dict, script: str) -> float:
        done = self._oci(name, resources, f"cat /proc/uptime; {script}; cat /proc/uptime").splitlines()
        stamps = [float(line.split()[0]) for line in done]
        return stamps[-1] - stamps[0]

    def _oci(self, name: str, resources: dict, script: str) -> str:
        """Runs a script in a container of its own on the data partition; returns what it says."""
        config = json.loads(json.dumps(OCI_CONFIG))
        config["linux"]["resources"] = resources
        config["process"] = {"args": ["/bin/sh", "-c", script], "cwd": "/", "env": ["PATH=/bin"],
                             "user": {"uid": 0, "gid": 0}}
        place = f"/data/test-{name}"
        self.vm.ok(f"""set -e
            layer=$(dirname $(find /data/edgelet/layers -path '*/bin/busybox' | head -1))/..
            mkdir -p {place} && cp -a $layer {place}/rootfs && mkdir -p {place}/rootfs/proc {place}/rootfs/dev
            cat >{place}/config.json <<'E'\n{json.dumps(config)}\nE""")
        done = self.vm.run(f"edgelet-oci run -b {place} test-{name}")
        self.vm.ok(f"rm -rf {place}")
        return done.output

    @check
    def a_bundle_with_a_wrong_signature_is_refused(self) -> None:
        done = self.vm.run(f"rauc install {MEDIA}/second-by-stranger.raucb")
        expect(done.code != 0, "it was installed")
        expect("signature" in done.output.lower(), f"it does not say why: {done.output}")
        expect(self.lab.loader.order(self.vm).startswith("A"), "the order of boot has changed")
        expect(self.lab.loader.pending(self.vm) == "", "it left a slot that has to prove itself")

    @check
    def no_update_is_installed_before_the_slot_that_runs_is_good(self) -> None:
        self.vm.ok("mv /run/edgelet-os/good /run/edgelet-os/good.kept")
        done = self.vm.run(f"rauc install {MEDIA}/second.raucb; journalctl -b -u rauc --no-pager | tail -20")
        self.vm.ok("mv /run/edgelet-os/good.kept /run/edgelet-os/good")
        expect("has not been found good yet" in done.output, f"it does not say why: {done.output}")
        expect(self.lab.loader.pending(self.vm) == "", "it left a slot that has to prove itself")

    @check
    def a_signed_bundle_goes_into_the_other_slot(self) -> None:
        started = time.monotonic()
        self.vm.ok(f"rauc install {MEDIA}/second.raucb", timeout=600)
        say(f"life: bundle of {self.lab.bundle('second').stat().st_size / 2**20:.0f} MiB installed in "
            f"{time.monotonic() - started:.1f} s")
        expect(self.lab.loader.order(self.vm) == "B A", "the new slot is not the first in order")
        expect(self.lab.loader.pending(self.vm) == "B", "the new slot does not have to prove itself")
        expect(slot(self.vm) == "A" and self.vm.run(SERVES).code == 0, "what runs was touched")

    @check
    def the_new_system_starts_proves_itself_and_is_marked_good(self) -> None:
        identity = self.vm.ok("cat /etc/machine-id /etc/hostname")
        self.vm.reboot()
        expect(slot(self.vm) == "B" and self.vm.ok("cat /etc/edgelet-release") == "second", "it is not the new one")
        expect(self.lab.loader.pending(self.vm) == "B", "it is believed before it has proven itself")
        wait_good(self.vm)
        expect(self.lab.loader.pending(self.vm) == "", "it still has to prove itself")
        expect(self.vm.ok("cat /etc/machine-id /etc/hostname") == identity, "the device became another one")

    @check
    def a_cut_while_it_starts_does_not_bring_the_old_system_back(self) -> None:
        seen = len(self.vm.console())
        self.vm.kill()
        self.vm.start()
        self.vm.wait_console("edgelet-os: starting slot B", since=seen)
        self.vm.kill()
        self._start_good("B")

    @check
    def a_cut_while_the_loaders_variables_are_written_is_mended(self) -> None:
        self.lab.loader.damage_variables(self.vm)
        self.vm.kill()
        self._start_good("B")
        expect(self.lab.loader.order(self.vm) == "B A", "the variables are not what they were")

    def _start_good(self, wanted: str) -> None:
        self.vm.start()
        self.vm.wait_ready()
        expect(slot(self.vm) == wanted, f"slot {slot(self.vm)} runs")
        wait_good(self.vm)

    def _fact(self, command: str, wanted: str) -> None:
        """The output of a command has this text in it; blanks count once."""
        output = " ".join(self.vm.ok(command).split())
        expect(wanted in output, f"{command}: {output!r} does not have {wanted!r}")

"""An image from a registry, over a network, on each kind of data file system."""

import hashlib
import time

from ..disk import MIB
from ..oci_image import noise
from ..registry import HOST, Registry
from ..story import Story, check, deploy, expect, wait_good
from ..tools import say


BOX = """
apiVersion: edgelet.iofog.org/v1
kind: Microservice
metadata: {{name: box}}
spec: {{image: "{image}"}}
"""


class PullExt4(Story):
    """As the image is flashed."""

    FILESYSTEM = "ext4"

    @check
    def a_workload_is_pulled_unpacked_and_started(self) -> None:
        registry = Registry()
        try:
            registry.put(self.lab.box, "edgelet/box:1")
            self._pull(f"{HOST}:{registry.port}")
        finally:
            registry.close()

    def _pull(self, address: str) -> None:
        vm = self.power_on(self.lab.disk(self.name(), data=self.FILESYSTEM), network=True)
        vm.wait_ready()
        expect(vm.ok("findmnt -no FSTYPE /data") == self.FILESYSTEM, "it is another file system")
        wait_good(vm)
        vm.until("ip -4 -o address show scope global | grep -q .")
        vm.ok(f"""[ -s /etc/edgelet/config.toml ] || edgelet init-config
            printf '\\n[registries."{address}"]\\ninsecure = true\\n' >>/etc/edgelet/config.toml
            systemctl restart edgelet""")
        started = time.monotonic()
        vm.ok(f"edgelet --timeout 300s image pull {address}/edgelet/box:1", timeout=400)
        say(f"{self.name()}: pulled and unpacked in {time.monotonic() - started:.1f} s")
        deploy(vm, BOX.format(image=f"{address}/edgelet/box:1"))
        listed = vm.ok("edgelet ms exec edgelet.box -- ls /share")
        expect(len(listed.split()) == 16, f"the image is not complete: {listed}")
        sums = vm.ok("cat $(find /data/edgelet/layers -path '*/share/7') | sha256sum")
        expect(sums.split()[0] == hashlib.sha256(noise(7, MIB)).hexdigest(), "a file is not what was packed")


class PullF2fs(PullExt4):
    """As somebody may format it."""

    FILESYSTEM = "f2fs"

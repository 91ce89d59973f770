"""A real registry on this host, that a machine reaches through QEMU's user network."""

import re
import subprocess
import tempfile
import time
from pathlib import Path

from .tools import Failure, require, run

HOST = "10.0.2.2"
"""This host, as the machine sees it."""


class Registry:
    """Runs until `close`. Plain HTTP on the loopback device."""

    def __init__(self) -> None:
        require("docker-registry", "skopeo")
        self.folder = tempfile.TemporaryDirectory(prefix="edgelet-registry-")
        place = Path(self.folder.name)
        (place / "config.yml").write_text(
            f"version: 0.1\nlog: {{level: info}}\nstorage: {{filesystem: {{rootdirectory: {place}/storage}}}}\n"
            "http: {addr: '127.0.0.1:0'}\n")
        self.log = place / "log"
        self.process = subprocess.Popen(["docker-registry", "serve", str(place / "config.yml")],
                                        stdout=open(self.log, "wb"), stderr=subprocess.STDOUT)
        self.port = self._port()

    def _port(self) -> int:
        deadline = time.monotonic() + 60
        while time.monotonic() < deadline and self.process.poll() is None:
            if found := re.search(r"listening on 127\.0\.0\.1:(\d+)", self.log.read_text(errors="replace")):
                return int(found.group(1))
            time.sleep(0.1)
        self.close()
        raise Failure("docker-registry does not listen")

    def put(self, layout: Path, name: str) -> None:
        """Pushes the image of a layout."""
        run("skopeo", "copy", "--quiet", "--dest-tls-verify=false", f"oci:{layout}",
            f"docker://127.0.0.1:{self.port}/{name}")

    def close(self) -> None:
        """No process and no file is left behind."""
        self.process.kill()
        self.process.wait()
        self.folder.cleanup()

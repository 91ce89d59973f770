"""An OCI image layout (image-spec 1.1) with one layer, for workloads that need more than the sample has."""

import gzip
import hashlib
import io
import json
from pathlib import Path

from .initramfs import libraries_of
from .machines import Machine
from .tools import cached, digest
from .tree import Tree

NAME = "docker.io/edgelet/box:1"
APPLETS = "sh cat dd echo head ls rm seq sleep sync tail timeout true".split()


def box(machine: Machine, debian: Path) -> Path:
    """A shell and some mebibytes that do not compress: enough to pull, unpack and run into limits."""

    def make(folder: Path) -> None:
        packages, tree = Tree(), Tree()
        packages.take(debian)
        for link in ("lib", "lib64"):
            tree.link(f"/{link}", f"usr/{link}")
        busybox = packages.read("/usr/bin/busybox")
        tree.file("/bin/busybox", busybox, 0o755)
        libraries_of(busybox, tree, packages)
        for applet in APPLETS:
            tree.link(f"/bin/{applet}", "busybox")
        tree.folder("/tmp", 0o1777)
        for number in range(16):
            tree.file(f"/share/{number}", noise(number, 1024 * 1024))
        _write(folder, tree, machine.oci)

    return cached(f"box-{machine.arch}", digest(debian.name, Path(__file__)), make)


def noise(seed: int, size: int) -> bytes:
    """Bytes that do not compress, the same for the same seed."""
    return hashlib.shake_128(str(seed).encode()).digest(size)


def _write(folder: Path, tree: Tree, architecture: str) -> None:
    (folder / "blobs/sha256").mkdir(parents=True)

    def blob(kind: str, content: bytes) -> dict:
        name = hashlib.sha256(content).hexdigest()
        (folder / "blobs/sha256" / name).write_bytes(content)
        return {"mediaType": f"application/vnd.oci.image.{kind}", "digest": f"sha256:{name}", "size": len(content)}

    tar = io.BytesIO()
    tree.write(tar)
    layer = tar.getvalue()
    config = {
        "architecture": architecture, "os": "linux",
        "config": {"Entrypoint": ["/bin/sleep", "1000000"], "Env": ["PATH=/bin"]},
        "rootfs": {"type": "layers", "diff_ids": [f"sha256:{hashlib.sha256(layer).hexdigest()}"]},
    }
    manifest = {
        "schemaVersion": 2, "mediaType": "application/vnd.oci.image.manifest.v1+json",
        "config": blob("config.v1+json", json.dumps(config).encode()),
        "layers": [blob("layer.v1.tar+gzip", gzip.compress(layer, 1, mtime=0))],
    }
    entry = blob("manifest.v1+json", json.dumps(manifest).encode())
    entry["annotations"] = {"org.opencontainers.image.ref.name": NAME}
    (folder / "index.json").write_text(json.dumps({"schemaVersion": 2, "manifests": [entry]}))
    (folder / "oci-layout").write_text('{"imageLayoutVersion": "1.0.0"}')

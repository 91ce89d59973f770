"""Signing keys made for this run of the tests, and update bundles signed with them."""

import tempfile
from dataclasses import dataclass
from pathlib import Path

from .machines import Machine
from .system import Release
from .tools import cached, digest, require, run


@dataclass(frozen=True)
class Authority:
    """A development authority of its own: nothing signed with it is of any use elsewhere."""

    folder: Path

    @property
    def certificate(self) -> Path:
        """For the keyring of the device."""
        return self.folder / "ca.cert.pem"


def authority(name: str) -> Authority:
    """The authority of this name; kept in the cache, since the root holds its certificate."""

    def make(folder: Path) -> None:
        require("openssl")
        folder.mkdir()
        new = ["openssl", "req", "-newkey", "rsa:2048", "-nodes", "-sha256", "-days", "7300"]
        run(*new, "-x509", "-subj", f"/O=edgelet tests/CN={name}", "-keyout", folder / "ca.key.pem",
            "-out", folder / "ca.cert.pem")
        run(*new[:-2], "-subj", f"/O=edgelet tests/CN={name} signer", "-keyout", folder / "key.pem",
            "-out", folder / "request.pem")
        run("openssl", "x509", "-req", "-sha256", "-days", "7300", "-in", folder / "request.pem",
            "-CA", folder / "ca.cert.pem", "-CAkey", folder / "ca.key.pem", "-set_serial", "2",
            "-out", folder / "cert.pem")

    return Authority(cached(f"authority-{name}", digest("1"), make))


def bundle(machine: Machine, release: Release, signer: Authority, version: str, board: str | None = None) -> Path:
    """A bundle in verity format with both images of a slot group; `board` when it is for another machine."""
    manifest = f"""\
[update]
compatible=edgelet-os-{board or machine.machine}
version={version}

[bundle]
format=verity

[image.rootfs]
filename=rootfs.img

[image.kernel]
filename=kernel.img
"""

    def make(path: Path) -> None:
        require("rauc", "mksquashfs")
        with tempfile.TemporaryDirectory(prefix="edgelet-bundle-", dir=path.parent) as name:
            content = Path(name) / "content"
            content.mkdir()
            (content / "manifest.raucm").write_text(manifest)
            (content / "rootfs.img").hardlink_to(release.rootfs)
            (content / "kernel.img").hardlink_to(release.kernel)
            run("rauc", "bundle", f"--cert={signer.folder}/cert.pem", f"--key={signer.folder}/key.pem",
                "--mksquashfs-args=-comp zstd -Xcompression-level 1 -quiet -no-progress", content, f"{name}/out.raucb")
            Path(f"{name}/out.raucb").rename(path)

    key = digest(release.folder.name, signer.folder.name, (signer.folder / "cert.pem"), manifest)
    return cached(f"bundle-{machine.arch}-{version}.raucb", key, make)

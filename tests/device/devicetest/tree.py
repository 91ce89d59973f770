"""A file tree as a tar stream: owners and device files without being root, and the same bytes for the same input."""

import io
import tarfile
from dataclasses import dataclass, field
from pathlib import Path, PurePosixPath


@dataclass
class Tree:
    """Files by absolute path. What is put later replaces what was there."""

    files: dict[str, tuple[tarfile.TarInfo, bytes]] = field(default_factory=dict)

    def take(self, tar: Path, leave_out: tuple[str, ...] = ()) -> None:
        """Everything from a tar file but the folders in `leave_out`, whose own entries stay."""
        with tarfile.open(tar) as source:
            for info in source:
                path = _absolute(info.name)
                if any(path.startswith(folder + "/") for folder in leave_out):
                    continue
                # A hard link becomes a file of its own; squashfs stores the content once all the same.
                content = source.extractfile(info).read() if info.isreg() or info.islnk() else b""
                info.pax_headers = {}
                if info.islnk():
                    info.type, info.size = tarfile.REGTYPE, len(content)
                self.files[path] = (info, content)

    def file(self, path: str, content: bytes | str | Path, mode: int = 0o644) -> None:
        """A regular file; text, bytes, or the content of another file."""
        if isinstance(content, Path):
            content = content.read_bytes()
        elif isinstance(content, str):
            content = content.encode()
        info = self._info(path, mode)
        info.size = len(content)
        self.files[info.path] = (info, content)

    def folder(self, path: str, mode: int = 0o755) -> None:
        """A directory."""
        info = self._info(path, mode)
        info.type = tarfile.DIRTYPE
        self.files[info.path] = (info, b"")

    def link(self, path: str, target: str) -> None:
        """A symbolic link."""
        info = self._info(path, 0o777)
        info.type, info.linkname = tarfile.SYMTYPE, target
        self.files[info.path] = (info, b"")

    def copy(self, path: str, source: Path) -> None:
        """A folder of the host with everything in it."""
        self.folder(path)
        for entry in sorted(source.rglob("*")):
            place = f"{path}/{entry.relative_to(source)}"
            if entry.is_symlink():
                self.link(place, str(entry.readlink()))
            elif entry.is_dir():
                self.folder(place)
            else:
                self.file(place, entry, 0o755 if entry.stat().st_mode & 0o100 else 0o644)

    def remove(self, *paths: str) -> None:
        """Takes files away, and what is below them."""
        for path in paths:
            place = self.real(path)
            self.files = {p: f for p, f in self.files.items() if p != place and not p.startswith(place + "/")}

    def read(self, path: str) -> bytes:
        """The content of a file, through symbolic links."""
        return self.files[self.real(path, follow_last=True)][1]

    def real(self, path: str, follow_last: bool = False) -> str:
        """Where a path leads: /lib is a link in a merged root, and its files are below /usr/lib."""
        done = PurePosixPath("/")
        parts = list(PurePosixPath(path).parts[1:])
        while parts:
            part = parts.pop(0)
            if part == "..":
                done = done.parent
                continue
            entry = self.files.get(str(done / part))
            if entry and entry[0].issym() and (parts or follow_last):
                parts = [p for p in PurePosixPath(entry[0].linkname).parts if p != "/"] + parts
                done = PurePosixPath("/") if entry[0].linkname.startswith("/") else done
            else:
                done /= part
        return str(done)

    def write(self, out: io.IOBase) -> None:
        """The tar stream, parents first, all times the same."""
        with tarfile.open(fileobj=out, mode="w|", format=tarfile.GNU_FORMAT) as tar:
            for path in sorted(self.files):
                if path == "/":
                    continue
                info, content = self.files[path]
                info.name, info.mtime = path.lstrip("/"), 0
                tar.addfile(info, io.BytesIO(content) if info.isreg() else None)

    def _info(self, path: str, mode: int) -> tarfile.TarInfo:
        """An entry of root's, with the folders above it."""
        place = self.real(path)
        for parent in reversed(PurePosixPath(place).parents):
            if str(parent) not in self.files:
                above = tarfile.TarInfo(str(parent))
                above.type, above.mode = tarfile.DIRTYPE, 0o755
                self.files[str(parent)] = (above, b"")
        info = tarfile.TarInfo(place)
        info.mode = mode
        return info


def _absolute(name: str) -> str:
    return "/" + name.removeprefix("./").strip("/") if name not in (".", "./") else "/"

"""Running programs, and results kept under a hash of what they were made from."""

import hashlib
import os
import shutil
import subprocess
import sys
import time
from collections.abc import Callable, Iterable
from pathlib import Path

REPOSITORY = Path(__file__).resolve().parents[3]
STARTED = time.monotonic()


class Failure(Exception):
    """Something that the person at the keyboard should read; no traceback needed."""


def say(text: str) -> None:
    """One line with the seconds since the start in front."""
    print(f"[{time.monotonic() - STARTED:6.1f}] {text}", flush=True)


def cache() -> Path:
    """Outside the checkout, shared with tests/setup. Everything in it can be made again."""
    default = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "edgelet-tests"
    place = Path(os.environ.get("EDGELET_TEST_CACHE") or default) / "device"
    place.mkdir(parents=True, exist_ok=True)
    return place


def require(*programs: str) -> None:
    """Fails with all names at once when programs are missing."""
    path = os.pathsep.join([os.environ.get("PATH", ""), "/usr/sbin", "/sbin"])
    os.environ["PATH"] = path
    missing = [program for program in programs if not shutil.which(program)]
    if missing:
        raise Failure(f"missing programs: {' '.join(missing)}; tests/setup device-all installs them")


def run(*command: str | Path, stdin: bytes | None = None, env: dict[str, str] | None = None) -> str:
    """Runs a program to its end. Its output comes back, or comes with the failure."""
    words = [str(word) for word in command]
    done = subprocess.run(words, input=stdin, stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
                          env={**os.environ, **(env or {})}, check=False)
    output = done.stdout.decode(errors="replace")
    if done.returncode != 0:
        raise Failure(f"{' '.join(words)}: exit {done.returncode}\n{output}")
    return output


def digest(*parts: str | bytes | Path | Iterable[str]) -> str:
    """A name for these inputs. A path stands for its content, a folder for all that is in it."""
    whole = hashlib.sha256()

    def add(label: str, content: bytes) -> None:
        whole.update(f"{label}:{len(content)}:".encode() + content)

    for part in parts:
        if isinstance(part, Path) and part.is_dir():
            for file in sorted(part.rglob("*")):
                if file.is_symlink():
                    add(str(file.relative_to(part)), str(file.readlink()).encode())
                elif file.is_file():
                    add(str(file.relative_to(part)), file.read_bytes())
        elif isinstance(part, Path):
            add("file", part.read_bytes())
        elif isinstance(part, bytes):
            add("bytes", part)
        elif isinstance(part, str):
            add("text", part.encode())
        else:
            add("list", "\0".join(part).encode())
    return whole.hexdigest()[:20]


def cached(name: str, key: str, make: Callable[[Path], None]) -> Path:
    """The file or folder that `make` writes, made once per key. Complete under its name, or not there."""
    path = cache() / f"{name}-{key}"
    if path.exists():
        os.utime(path)
        return path
    started = time.monotonic()
    unfinished = cache() / f".{name}-{key}.{os.getpid()}"
    try:
        make(unfinished)
        unfinished.rename(path)
    finally:
        remove(unfinished)
    say(f"made {name} in {time.monotonic() - started:.1f} s")
    return path


def remove(path: Path) -> None:
    """Takes a file or folder away if it is there."""
    if path.is_dir() and not path.is_symlink():
        shutil.rmtree(path)
    else:
        path.unlink(missing_ok=True)


def forget_old(days: int = 14) -> None:
    """Takes away what no run has used for long."""
    for path in cache().iterdir():
        if time.time() - path.lstat().st_mtime > days * 86400:
            print(f"cache: removing {path.name}, unused for {days} days", file=sys.stderr)
            remove(path)

"""Where things are, and how others' programs are called."""

import os
import re
import subprocess
import sys
from pathlib import Path

REPOSITORY = Path(__file__).resolve().parents[3]
KAS, OELINT = "kas==5.5", "oelint-adv==9.11.2"


class Failure(Exception):
    """A check that did not hold."""


def text(path: str | Path) -> str:
    """A file of the repository."""
    return (REPOSITORY / path).read_text()


def tracked(*patterns: str) -> list[Path]:
    """Files of the repository by git's patterns, with those that are not committed yet."""
    out = run("git", "-C", REPOSITORY, "ls-files", "--cached", "--others", "--exclude-standard", "--", *patterns)
    return sorted({REPOSITORY / line for line in out.splitlines() if (REPOSITORY / line).is_file()})


def value(content: str, variable: str) -> str:
    """What a recipe or configuration assigns to a variable first, with its continuation lines as spaces."""
    found = re.search(rf'^{re.escape(variable)}\s*[?+:.]*=[+.]?\s*"((?:[^"\\]|\\.|\\\n)*)"', content, re.MULTILINE)
    if not found:
        raise Failure(f"no assignment to {variable}")
    return found.group(1).replace("\\\n", " ")


def run(*command: str | Path, **options) -> str:
    """The output of a program; its failure is ours."""
    done = subprocess.run([str(part) for part in command], text=True, stdout=subprocess.PIPE,
                          stderr=subprocess.STDOUT, **options)
    if done.returncode:
        raise Failure(f"{' '.join(str(part) for part in command)} ended with {done.returncode}:\n{done.stdout[-6000:]}")
    return done.stdout


def cache() -> Path:
    """The folder of tests/setup."""
    default = Path(os.environ.get("XDG_CACHE_HOME", Path.home() / ".cache")) / "edgelet-tests"
    return Path(os.environ.get("EDGELET_TEST_CACHE", default))


def python_tools() -> Path:
    """The bin folder of a virtual environment with kas and the linter, made once for their versions."""
    venv = cache() / f"layer-{KAS}-{OELINT}"
    if not (venv / "complete").exists():
        run(sys.executable, "-m", "venv", "--clear", venv)
        run(venv / "bin/pip", "--quiet", "install", KAS, OELINT)
        (venv / "complete").touch()
    return venv / "bin"


def folder_of(variable: str) -> Path:
    """The folder that an environment variable names."""
    folder = Path(os.environ[variable]).resolve()
    if not folder.is_dir():
        raise Failure(f"{variable}: there is no folder {folder}")
    return folder

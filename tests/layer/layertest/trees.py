"""Tiers 1 and 2: what BitBake itself says, with checkouts that somebody else made.

BitBake refuses to run as root, and wants an English UTF-8 locale. As root everything of it runs as `nobody`, in a
folder outside of the repository, on a copy of the files: what is measured is not written to.
"""

import os
import pwd
import shutil
import subprocess
import time
from pathlib import Path

from .test_kas import MACHINES
from .tools import REPOSITORY, Failure, run

# Of kas's repositories, the folder below OE_TREES and the layers in it that a machine needs.
COMMON = ["openembedded-core/meta", "meta-openembedded/meta-oe", "meta-rauc"]
BOARDS = {
    "genericx86-64": ["meta-yocto/meta-yocto-bsp"], "beaglebone-yocto": ["meta-yocto/meta-yocto-bsp"],
    "raspberrypi4-64": ["meta-raspberrypi"], "raspberrypi5": ["meta-raspberrypi"], "visionfive2": ["meta-riscv"],
}
# Nothing is fetched from a network unless a step is there to fetch; two cores are plenty of load for others.
LOCAL_CONF = """\
DL_DIR = "{work}/downloads"
SSTATE_DIR = "{work}/sstate"
CONNECTIVITY_CHECK_URIS = ""
INHERIT:remove = "uninative"
BB_HASHSERVE = ""
BB_SIGNATURE_HANDLER = "OEBasicHash"
BB_NUMBER_PARSE_THREADS = "{threads}"
BB_NUMBER_THREADS = "{threads}"
BBMASK += "meta-riscv/recipes-kernel/linux/linux-mainline_7.0.bb"
{more}
"""


class Build:
    """A build folder with its layers."""

    def __init__(self, trees: Path, layers: list[str], more: str = "", machine: str = "qemux86-64", ours: bool = True):
        """`ours` is off for yocto-check-layer, which adds the layer itself to see what it changes."""
        self.trees, self.machine = trees, machine
        self.work = Path(os.environ.get("OE_WORK", "/var/tmp/edgelet-layer"))
        self.source, self.folder = self.work / "source", self.work / f"build-{machine}{'' if ours else '-plain'}"
        self.user = pwd.getpwnam("nobody") if os.getuid() == 0 else pwd.getpwuid(os.getuid())
        for path in (self.folder / "conf", self.work / "downloads", self.work / "sstate", self.work / "home"):
            path.mkdir(parents=True, exist_ok=True)
        paths = [trees / layer for layer in layers]
        if missing := [str(p) for p in paths if not (p / "conf/layer.conf").exists()]:
            raise Failure(f"OE_TREES: no layer at {', '.join(missing)}")
        if ours:
            paths += [self.source, self.source / "meta-edgelet"]
            more = f'DISTRO = "edgelet-os"\n{more}'
        (self.folder / "conf/bblayers.conf").write_text(
            'LCONF_VERSION = "7"\nBBPATH = "${TOPDIR}"\nBBFILES ?= ""\nBBLAYERS = "%s"\n' % " ".join(map(str, paths)))
        (self.folder / "conf/local.conf").write_text(
            LOCAL_CONF.format(work=self.work, threads=os.cpu_count() or 1, more=more))
        # Time stamps of unchanged files stay, so that the parse of the last run is of use.
        self.source.mkdir(exist_ok=True)
        listing = run("git", "-C", REPOSITORY, "ls-files", "--cached", "--others", "--exclude-standard")
        wanted = {line for line in listing.splitlines() if (REPOSITORY / line).is_file()}
        for old in [p for p in self.source.rglob("*") if p.is_file()]:
            if str(old.relative_to(self.source)) not in wanted:
                old.unlink()
        for name in wanted:
            place = self.source / name
            if not place.exists() or place.read_bytes() != (REPOSITORY / name).read_bytes():
                place.parent.mkdir(parents=True, exist_ok=True)
                shutil.copy2(REPOSITORY / name, place)
        if os.getuid() == 0:
            # Not what is theirs already: it would take set-user-id away from what a build has made.
            run("chown", "-R", "--from=0:0", f"{self.user.pw_uid}:{self.user.pw_gid}", self.source, self.work / "home",
                self.work / "downloads", self.work / "sstate", self.folder)
            self.work.chmod(0o755)

    def call(self, *command: str | Path, expect: str = "") -> str:
        """A program of BitBake's; its errors, and warnings about files of ours, are failures."""
        started = time.monotonic()
        code, output = self._run(*command)
        title = f"{self.machine}: {' '.join(Path(str(part)).name for part in command)}"
        if code or expect not in output:
            errors = "\n".join(line for line in output.splitlines() if line.startswith("ERROR"))
            raise Failure(f"{title} ended with {code}:\n{output[-6000:]}\n{errors[-4000:]}")
        ours = [line for line in output.splitlines() if line.startswith(("WARNING", "ERROR")) and
                (str(self.source) in line or "edgelet" in line)]
        if ours:
            raise Failure(f"{title} warns of files of ours:\n" + "\n".join(ours))
        print(f"{title}: {time.monotonic() - started:.0f} s", flush=True)
        return output

    def refuse(self, *command: str | Path, because: str) -> None:
        """A program of BitBake's that has to fail, and to say why."""
        code, output = self._run(*command)
        title = f"{self.machine}: {' '.join(map(str, command))}"
        if code == 0 or because not in output:
            raise Failure(f"{title} ended with {code} and does not say \"{because}\":\n{output[-6000:]}")
        print(f"{title}: refused, \"{because}\"", flush=True)

    def _run(self, *command: str | Path) -> tuple[int, str]:
        environment = {
            "LC_ALL": "en_US.UTF-8", "HOME": str(self.work / "home"), "USER": self.user.pw_name, "TERM": "dumb",
            "MACHINE": self.machine, "BB_ENV_PASSTHROUGH_ADDITIONS": "MACHINE", "BUILDDIR": str(self.folder),
            "PATH": f"{self.trees}/openembedded-core/scripts:{self.trees}/bitbake/bin:/usr/local/bin:/usr/bin:/bin:/usr/sbin:/sbin",
            # Trees belong to whoever made them.
            "GIT_CONFIG_COUNT": "1", "GIT_CONFIG_KEY_0": "safe.directory", "GIT_CONFIG_VALUE_0": "*",
        }
        options = {"user": self.user.pw_uid, "group": self.user.pw_gid, "extra_groups": []} if os.getuid() == 0 else {}
        done = subprocess.run(["nice", *map(str, command)], cwd=self.folder, env=environment, text=True,
                              stdout=subprocess.PIPE, stderr=subprocess.STDOUT, **options)
        return done.returncode, done.stdout


def machines() -> list[str]:
    """All, or those of OE_MACHINES."""
    known = ["qemux86-64", *sorted(MACHINES.values())]
    wanted = os.environ.get("OE_MACHINES", "").split() or known
    if unknown := set(wanted) - set(known):
        raise Failure(f"OE_MACHINES: unknown {' '.join(sorted(unknown))}; there are {' '.join(known)}")
    return wanted


def check(trees: Path) -> None:
    """Every machine, then what is the same for all of them."""
    for machine in machines():
        build = Build(trees, COMMON + BOARDS.get(machine, []), machine=machine)
        build.call("bitbake", "-p")
        build.call("bitbake", "-g", "edgelet-image", "edgelet-image-dev", "edgelet-bundle")
    build = Build(trees, COMMON)
    # Keys are asked for when the bundle is made, and not while tasks are listed.
    build.call("bitbake", "-n", "edgelet-image", "edgelet-bundle")
    build.call("bitbake", "-c", "fetch", "edgelet", "edgelet-hello")
    build.refuse("bitbake", "-c", "check_keys", "edgelet-bundle", because="EDGELET_BUNDLE_KEY is not set")
    Build(trees, COMMON, machine="no-such-board").refuse("bitbake", "-p", because="MACHINE=no-such-board is invalid")
    build = Build(trees, COMMON[:1], ours=False)
    build.call("yocto-check-layer", build.source / "meta-edgelet", expect="PASS")
    # The layers of others are their own business, and hours.
    build.call("yocto-check-layer", "--no-auto", "--no-auto-dependency", build.source,
               "--dependency", build.source / "meta-edgelet", *(trees / layer for layer in COMMON[1:]), expect="PASS")


def build(trees: Path, layer: Path, tcmode: str) -> None:
    """The agent's package with a toolchain from outside; EDGELET_TIER2_TARGETS names more."""
    # Layers are read before local.conf is, so this one is named with the others.
    more = f'TCMODE = "{tcmode}"\nPACKAGE_CLASSES = "package_deb"'
    targets = os.environ.get("EDGELET_TIER2_TARGETS", "edgelet").split()
    for machine in machines():
        layers = [*COMMON, *BOARDS.get(machine, []), str(layer)]
        Build(trees, layers, more=more, machine=machine).call("bitbake", *targets)

"""A story is a device's life as a row of checks: each begins where the one before ended, so that boots are shared."""

import contextlib
import time
from collections.abc import Callable

from . import loader
from .lab import Lab
from .tools import Failure, say
from .vm import Vm

# In the machine, with bash: the sample workload answers.
SERVES = ("exec 3<>/dev/tcp/127.0.0.1/8080 && printf 'GET / HTTP/1.0\\r\\n\\r\\n' >&3 && "
          "timeout 10 grep -q 'Hello from hello' <&3")
MEDIA = "/run/media"


def check(method: Callable) -> Callable:
    """Marks a method as a check. Its name is what it shows."""
    method.is_check = True
    return method


class Story:
    """Subclasses are stories; their checks run in the order in which they stand."""

    def __init__(self, lab: Lab):
        self.lab = lab
        self.vms: list[Vm] = []

    @classmethod
    def name(cls) -> str:
        """What the command line calls it."""
        return "".join("-" + c.lower() if c.isupper() else c for c in cls.__name__).lstrip("-")

    @classmethod
    def checks(cls) -> list[str]:
        """Names of the checks in order."""
        names = {name: None for base in reversed(cls.__mro__) for name in vars(base)}
        return [name for name in names if getattr(getattr(cls, name), "is_check", False)]

    def tell(self, last: str | None = None) -> list[tuple[str, str, float]]:
        """Runs the checks up to `last`; (name, error or empty, seconds) of each. A failure ends the story."""
        results = []
        try:
            for name in self.checks():
                started = time.monotonic()
                error = self._tell(name)
                seconds = time.monotonic() - started
                say(f"{'FAILED' if error else 'ok    '} {self.name()}: {name.replace('_', ' ')} ({seconds:.0f} s)")
                if error:
                    say(f"{self.name()}: {error}")
                results.append((name, error, seconds))
                if error or name == last:
                    break
        finally:
            for vm in self.vms:
                vm.close()
        return results

    def _tell(self, name: str) -> str:
        try:
            getattr(self, name)()
            return ""
        except (Failure, AssertionError) as error:
            for vm in self.vms:
                if vm.process:
                    say(f"{self.name()}: the last of the console:\n{vm.console()[-5000:]}\n")
                    with contextlib.suppress(Failure):
                        say(f"{self.name()}: {vm.run(LOOK, timeout=60).output}\n")
            return str(error) or repr(error)

    def power_on(self, medium, **options) -> Vm:
        """A machine that is on, and off again at the end of the story."""
        vm = self.lab.vm(medium, self.name(), **options)
        self.vms.append(vm)
        vm.start()
        return vm


# What a person would look at first.
LOOK = """
systemctl --failed --no-legend --plain; systemctl list-jobs --no-legend
df -B1 /data; edgelet -o json ms inspect edgelet.hello
journalctl -b -u edgelet -u edgelet-seed -u edgelet-boot-health -u rauc --no-pager -o short-monotonic | tail -40
"""


def expect(fact: bool, otherwise: str) -> None:
    """A fact that has to hold, and what to say when it does not."""
    if not fact:
        raise Failure(otherwise)


def slot(vm: Vm) -> str:
    """The slot that runs."""
    return vm.ok("sed 's/.*rauc.slot=\\(.\\).*/\\1/' /proc/cmdline")


def wait_good(vm: Vm) -> None:
    """Waits until the slot that runs was marked good, and the workload serves."""
    vm.until(SERVES)
    vm.until("systemctl is-active --quiet edgelet-boot-health")
    chosen = slot(vm)
    expect(loader.of(vm.machine).is_good(vm, chosen), f"slot {chosen} is not marked good")


def plug_media(vm: Vm) -> None:
    """Mounts the file system with bundles and images."""
    vm.ok(f"mkdir -p {MEDIA} && mount -o ro /dev/disk/by-id/virtio-media {MEDIA}")


def deploy(vm: Vm, manifest: str) -> None:
    """Gives the node a manifest."""
    vm.ok(f"cat >/run/manifest.yaml <<'E'\n{manifest}\nE\nedgelet deploy -f /run/manifest.yaml")

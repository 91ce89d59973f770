"""A running machine: QEMU, its serial console, and a channel for commands beside it."""

import base64
import errno
import re
import socket
import subprocess
import tempfile
import threading
import time
from dataclasses import dataclass
from pathlib import Path

from . import loader
from .machines import Machine
from .tools import Failure, require

# Generous: under emulation on a busy machine a boot takes minutes. Nothing waits for longer than it has to.
BOOT_S = 900
COMMAND_S = 300


@dataclass(frozen=True)
class Result:
    """What a command in the machine left."""

    command: str
    code: int
    output: str

    def ok(self) -> str:
        """The output of a command that has to succeed."""
        if self.code != 0:
            raise Failure(f"in the machine: {self.command}\nexit {self.code}: {self.output}")
        return self.output


class Vm:
    """One machine. It may be powered on again after it was off; `close` ends it. When `unreadable` is set before
    `start`, the medium answers a read of that byte with an error."""

    def __init__(self, machine: Machine, disk: Path, media: Path | None = None, network: bool = False,
                 clock: str = "utc", memory_mib: int = 1024, name: str = "machine"):
        self.machine, self.disk, self.media, self.name = machine, disk, media, name
        self.network, self.clock, self.memory_mib = network, clock, memory_mib
        self.folder = tempfile.TemporaryDirectory(prefix="edgelet-vm-")
        self.console_log = Path(self.folder.name) / "console.log"
        self.unreadable: int | None = None
        self.process: subprocess.Popen | None = None
        self.started = 0.0
        self.resets = 0
        self._changed = threading.Condition()
        self._power = threading.Lock()
        self._ready: list[str] = []
        self._results: dict[int, tuple[int, str]] = {}
        self._number = 0

    def close(self) -> None:
        """No process and no file is left behind."""
        self.kill()
        self.folder.cleanup()

    # Power

    def start(self) -> None:
        """Power on. Returns at once."""
        require(self.machine.qemu[0])
        self._ready.clear()
        self.started = time.monotonic()
        self._spawn()

    def _spawn(self) -> None:
        folder = Path(self.folder.name)
        for name in ("console.sock", "channel.sock"):
            (folder / name).unlink(missing_ok=True)
        with open(folder / "qemu.log", "ab") as log:
            self.process = subprocess.Popen(self._command(folder), stdin=subprocess.DEVNULL, stdout=log, stderr=log)
        self._serial = self._connect(folder / "console.sock")
        self._channel = self._connect(folder / "channel.sock")
        threading.Thread(target=self._drain, args=(self._serial,), daemon=True).start()
        threading.Thread(target=self._listen, args=(self._channel,), daemon=True).start()
        threading.Thread(target=self._start_again, args=(self.process,), daemon=True).start()

    def _start_again(self, process: subprocess.Popen) -> None:
        """A machine that resets itself is switched off and on. QEMU could do it in place, but then the firmware
        writes over all the code of the last system that was translated, and takes minutes for it."""
        if process.wait() == 0:
            with self._power:
                if self.process is process:
                    self.resets += 1
                    self._spawn()

    def kill(self) -> None:
        """Power off by the plug: what the machine handed to the disk is there, and nothing else."""
        with self._power:
            process, self.process = self.process, None
        if process:
            process.kill()
            process.wait()
            self._serial.close()
            self._channel.close()

    def reboot(self) -> None:
        """Orderly, and waits for the next system to take commands."""
        seen = len(self._ready)
        self.send("systemctl reboot")
        self.wait_ready(seen + 1)

    def boots(self) -> int:
        """How many systems have come up since power on."""
        return len(self._ready)

    # Commands

    def wait_ready(self, boots: int = 1, timeout: float = BOOT_S) -> None:
        """Waits until the system of the n-th boot since power on takes commands."""
        self._wait(lambda: len(self._ready) >= boots, timeout, f"boot {boots} did not come up")

    def run(self, command: str, timeout: float = COMMAND_S) -> Result:
        """Runs a shell command as root."""
        number = self.send(command)
        self._wait(lambda: number in self._results, timeout, f"no end of: {command}")
        code, output = self._results.pop(number)
        return Result(command, code, output)

    def ok(self, command: str, timeout: float = COMMAND_S) -> str:
        """The output of a command that has to succeed."""
        return self.run(command, timeout).ok()

    def until(self, command: str, timeout: float = BOOT_S, pause: float = 0.5) -> str:
        """Runs a command again and again until it succeeds."""
        deadline = time.monotonic() + timeout
        while (result := self.run(command)).code != 0:
            if time.monotonic() > deadline:
                raise Failure(f"{self.name}: after {timeout:.0f} s still: {command}\n{result.output}")
            time.sleep(pause)
        return result.output

    def send(self, command: str) -> int:
        """Starts a command without waiting for it."""
        self._number += 1
        packed = base64.b64encode(command.encode()).decode()
        self._channel.sendall(f"{self._number} {packed}\n".encode())
        return self._number

    # Console

    def console(self) -> str:
        """Everything the serial console has shown since the first power on."""
        text = self.console_log.read_text(errors="replace") if self.console_log.exists() else ""
        return re.sub(r"\x1b\[[0-9;?=]*[A-Za-z]|\x1b[()][A-Z0-9]|\r", "", text)

    def wait_console(self, pattern: str, timeout: float = BOOT_S, since: int = 0) -> int:
        """Waits for text on the console behind position `since`; returns the position behind it."""
        deadline = time.monotonic() + timeout
        while True:
            if found := re.search(pattern, self.console()[since:]):
                return since + found.end()
            self._alive()
            if time.monotonic() > deadline:
                raise Failure(f"{self.name}: after {timeout:.0f} s the console does not show: {pattern}")
            time.sleep(0.2)

    def type(self, text: str) -> None:
        """Types on the serial console."""
        self._serial.sendall(text.encode())

    # How it is done

    def _command(self, folder: Path) -> list[str]:
        command = [
            *self.machine.qemu, "-accel", "tcg", "-smp", "1", "-m", str(self.memory_mib),
            "-nodefaults", "-no-reboot", "-display", "none", "-rtc", f"base={self.clock}",
            "-chardev", f"socket,id=console,path={folder}/console.sock,server=on,wait=off,"
                        f"logfile={self.console_log},logappend=on",
            "-serial", "chardev:console",
            "-chardev", f"socket,id=channel,path={folder}/channel.sock,server=on,wait=off",
            "-device", "virtio-serial-pci", "-device", "virtserialport,chardev=channel,name=org.edgelet.test",
            "-device", "virtio-rng-pci",
            # Flushes are not passed on to the host's disk: what dies here is QEMU, never the host.
            "-drive", f"{self._medium()},if=none,id=medium,cache=unsafe,discard=unmap",
            "-device", "virtio-blk-pci,drive=medium,serial=medium,bootindex=0",
        ]
        if self.media:
            command += ["-drive", f"file={self.media},format=raw,if=none,id=media,read-only=on",
                        "-device", "virtio-blk-pci,drive=media,serial=media"]
        if self.network:
            command += ["-netdev", "user,id=net", "-device", "virtio-net-pci,netdev=net,romfile="]
        return command + loader.of(self.machine).firmware(folder)

    def _medium(self) -> str:
        if self.unreadable is None:
            return f"file={self.disk},format=raw"
        error = {"event": "none", "iotype": "read", "errno": errno.EIO, "sector": self.unreadable // 512, "once": "off"}
        return f"driver=raw,file.driver=blkdebug,file.image.driver=file,file.image.filename={self.disk}," + ",".join(
            f"file.inject-error.0.{name}={value}" for name, value in error.items())

    def _connect(self, path: Path) -> socket.socket:
        deadline = time.monotonic() + 60
        while True:
            self._alive()
            link = socket.socket(socket.AF_UNIX)
            try:
                link.connect(str(path))
                return link
            except OSError:
                link.close()
                if time.monotonic() > deadline:
                    raise
                time.sleep(0.05)

    @staticmethod
    def _drain(link: socket.socket) -> None:
        """QEMU writes the log; here it only must not block."""
        try:
            while link.recv(65536):
                pass
        except OSError:
            pass

    def _listen(self, link: socket.socket) -> None:
        try:
            for line in link.makefile("r", encoding="ascii", errors="replace"):
                self._hear(line.strip())
        except (OSError, ValueError):
            pass

    def _hear(self, line: str) -> None:
        first, _, rest = line.partition(" ")
        with self._changed:
            if first.endswith("ready"):
                self._ready.append(rest)
            elif first.isdigit():
                output, _, code = base64.b64decode(rest).decode(errors="replace").rpartition(" ")
                self._results[int(first)] = (int(code), output.rstrip("\n"))
            self._changed.notify_all()

    def _wait(self, fact, timeout: float, otherwise: str) -> None:
        deadline = time.monotonic() + timeout
        with self._changed:
            while not fact():
                self._alive()
                if time.monotonic() > deadline:
                    raise Failure(f"{self.name}: after {timeout:.0f} s: {otherwise}")
                self._changed.wait(0.5)

    def _alive(self) -> None:
        # 0 is a reset, and it starts again.
        if self.process.poll():
            log = (Path(self.folder.name) / "qemu.log").read_text(errors="replace")
            raise Failure(f"{self.name}: QEMU ended with {self.process.returncode}: {log[-2000:]}")

"""Us and our peers, in turn, in one run: what a difference means is the ratio, not the absolute time.

usage: bench.py DIST_DIR [runtime] [pull]
"""

import contextlib
import json
import os
import pathlib
import resource
import select
import shutil
import socket
import statistics
import subprocess
import sys
import tempfile
import time
import urllib.request

RUNTIME_ROUNDS = 200
PULL_ROUNDS = 5


def main() -> None:
    dist = pathlib.Path(sys.argv[1])
    wanted = sys.argv[2:] or ["runtime", "pull"]
    for part in wanted:
        with tempfile.TemporaryDirectory(prefix="edgelet-bench") as directory:
            PARTS[part](dist, pathlib.Path(directory))


def bench_runtimes(dist: pathlib.Path, work: pathlib.Path) -> None:
    """Containers that run /bin/true, by us and by peers over the same bundle, and what the kernel alone takes."""
    # State is below /run in real life, which is memory.
    run(["mount", "-t", "tmpfs", "tmpfs", str(work)])
    try:
        compare_runtimes(dist, work)
    finally:
        run(["umount", str(work)])


def compare_runtimes(dist: pathlib.Path, work: pathlib.Path) -> None:
    bundle = make_bundle(work, "bundle", ["/bin/true"])
    runtimes = {"edgelet-oci": dist / "edgelet-oci", **peers(work)}
    floor = {"floor": [compiled(work, "floor"), bundle / "rootfs", "/bin/true"]}
    runs = {name: [program, "--root", work / name, "run", "--bundle", bundle, f"bench-{name}-%d"]
            for name, program in runtimes.items()}
    samples = in_turns(work, RUNTIME_ROUNDS, {**runs, **floor}, rotate=True)
    samples["own path"] = own_path(dist, work, bundle)
    print(f"\nrun of /bin/true, {RUNTIME_ROUNDS} rounds in turn (ms, KiB)")
    report(samples, "edgelet-oci")
    crun = statistics.median(sample[0] for sample in samples[NEWEST if NEWEST in samples else "crun"])
    for ours in ["edgelet-oci", "own path"]:
        print(f"{ours}: {statistics.median(sample[0] for sample in samples[ours]) / crun:.2f} of crun")
    print(f"\nby separate calls, {RUNTIME_ROUNDS // 4} rounds in turn (ms)")
    report_verbs(in_turns(work, RUNTIME_ROUNDS // 4, verbs(work, runtimes)), runtimes)


NEWEST = "crun-of-sid"


def peers(work: pathlib.Path) -> dict:
    """Runtimes of this Debian, and the newest crun that Debian has, with a loader and libraries of its own."""
    found = {"crun": shutil.which("crun"), "runc": shutil.which("runc")}
    root = work / "sid"
    made = subprocess.run(
        # A mirror may be some weeks behind; signed it is all the same.
        ["mmdebstrap", "--quiet", "--variant=extract", "--include=crun",
         "--aptopt=Acquire::Check-Valid-Until \"false\"", "sid", str(root), *MIRROR],
        stdout=subprocess.DEVNULL,
    )
    if made.returncode != 0:
        print(f"{NEWEST}: not to be had, left out", file=sys.stderr)
        return found
    loader = next(root.glob("usr/lib*/ld-linux-*.so.*"))
    libraries = next(root.glob("usr/lib/*-linux-gnu*"))
    program = root / "usr/bin/crun"
    # Started by its loader it would not find itself again, which it does to protect itself.
    run(["patchelf", "--set-interpreter", str(loader), "--set-rpath", str(libraries), str(program)])
    return {NEWEST: program, **found}


# Where packages come from, if not from Debian's own servers.
MIRROR = [os.environ["EDGELET_TEST_MIRROR"]] if "EDGELET_TEST_MIRROR" in os.environ else []


def compiled(work: pathlib.Path, name: str) -> pathlib.Path:
    program = work / name
    source = pathlib.Path(__file__).with_name(f"{name}.c")
    run(["musl-gcc", "-O2", "-Wall", "-Wextra", "-Werror", "-static", "-o", str(program), str(source)])
    return program


def in_turns(work: pathlib.Path, rounds: int, commands: dict, rotate: bool = False) -> dict:
    """Samples of commands that run in turn: wall and processor milliseconds, and peak KiB."""
    words = [str(compiled(work, "turns")), *(["rotate"] if rotate else []), str(rounds)]
    names = list(commands)
    for number, command in enumerate(commands.values()):
        words += ["--", str(number), *map(str, command)]
    text = subprocess.run(words, check=True, stdout=subprocess.PIPE, text=True).stdout
    samples = {name: [] for name in names}
    for line in text.splitlines():
        number, wall, cpu, peak = line.split()
        samples[names[int(number)]].append((float(wall) / 1000, float(cpu) / 1000, int(peak)))
    return samples


def verbs(work: pathlib.Path, runtimes: dict) -> dict:
    bundle = make_bundle(work, "waiting", ["/bin/sleep", "1000"])
    commands = {}
    for name, program in runtimes.items():
        start, container = [program, "--root", work / name], f"verbs-{name}-%d"
        commands[name, "create"] = [*start, "create", "--bundle", bundle, container]
        commands[name, "start"] = [*start, "start", container]
        commands[name, "state"] = [*start, "state", container]
        commands[name, "kill"] = [*start, "kill", container, "KILL"]
        commands[name, "delete"] = [*start, "delete", "--force", container]
    return commands


def report_verbs(samples: dict, runtimes: dict) -> None:
    names = ["create", "start", "state", "kill", "delete"]
    print(f"{'':14}" + "".join(f"{verb:>10}" for verb in names) + f"{'sum':>10}   us / it")
    sums = {}
    for name in runtimes:
        medians = [statistics.median(sample[0] for sample in samples[name, verb]) for verb in names]
        sums[name] = sum(medians)
        print(f"{name:14}" + "".join(f"{value:10.1f}" for value in [*medians, sums[name]])
              + f"   {sums['edgelet-oci'] / sums[name]:.2f}")


def own_path(dist: pathlib.Path, work: pathlib.Path, bundle: pathlib.Path) -> list:
    """The daemon's own way: an order to the process that shims are copies of, until the shim has written how the
    container ended. Python asks here in the daemon's place."""
    ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    config = json.loads((bundle / "config.json").read_text())
    config["root"]["path"] = str(bundle / "rootfs")
    samples = []
    zygote = subprocess.Popen(["edgelet-shim", " " * 256], executable=dist / "edgelet", stdin=theirs, **QUIET)
    theirs.close()
    for number in range(RUNTIME_ROUNDS + 5):
        container = f"{number:032x}"
        place = work / "own" / container
        place.mkdir(parents=True)
        (place / "config.json").write_text(json.dumps(config))
        (place / "order.json").write_text(json.dumps(order(container, work)))
        status, status_end = os.pipe()
        with open(place / "lock", "w") as lock:
            started = time.monotonic()
            socket.send_fds(ours, [str(place).encode()], [lock.fileno(), status_end])
            answer, (shim,), _, _ = socket.recv_fds(ours, 4096, 4)
            select.select([shim], [], [])
            wall = time.monotonic() - started
        os.close(status_end)
        told = os.read(status, 4096)
        for descriptor in [status, shim]:
            os.close(descriptor)
        end = json.loads((place / "exit.json").read_text()) if b"started" in told else {}
        if end.get("code") != 0:
            sys.exit(f"own path: {answer!r} {told!r} {end}")
        if number >= 5:
            samples.append((wall * 1000, 0, 0))
    ours.close()
    zygote.wait(timeout=30)
    return samples


def order(container: str, work: pathlib.Path) -> dict:
    return {
        "container": container, "workload": "00000000-0000-4000-8000-000000000000", "generation": 1, "at": 0, "stop_signal": 15,
        "runtime_root": str(work / "own-state"), "log_dir": str(work / "own-log"),
        "log_limit": {"file_bytes": 1 << 20, "files": 1},
    }


def make_bundle(work: pathlib.Path, name: str, arguments: list) -> pathlib.Path:
    bundle = work / name
    binaries = bundle / "rootfs" / "bin"
    binaries.mkdir(parents=True)
    shutil.copy("/bin/busybox", binaries / "busybox")
    for applet in ["true", "sleep"]:
        (binaries / applet).symlink_to("busybox")
    for name in ["proc", "dev", "sys"]:
        (bundle / "rootfs" / name).mkdir()
    # What `runc spec` writes, less the terminal, the limits that need CAP_SYS_RESOURCE, and a set that cannot be had.
    subprocess.run(["runc", "spec", "--bundle", bundle], check=True)
    config = json.loads((bundle / "config.json").read_text())
    config["process"].update(terminal=False, args=arguments)
    config["process"].pop("rlimits", None)
    config["process"]["capabilities"].pop("ambient", None)
    (bundle / "config.json").write_text(json.dumps(config))
    return bundle


def bench_pulls(dist: pathlib.Path, work: pathlib.Path) -> None:
    """Pull and unpack of one image from a registry on this machine, into empty stores."""
    with registry(work) as port:
        name = f"127.0.0.1:{port}/bench:1"
        size = push_image(work, name)
        samples = {"edgelet": [], "podman": [], "containerd": []}
        for _ in range(PULL_ROUNDS):
            samples["edgelet"].append(pull_with_edgelet(dist, name, port))
            samples["podman"].append(pull_with_podman(name))
            samples["containerd"].append(pull_with_containerd(name))
    print(f"\npull and unpack, {size >> 20} MiB unpacked, {PULL_ROUNDS} rounds in turn (ms, KiB)")
    report(samples, "edgelet")


@contextlib.contextmanager
def registry(work: pathlib.Path):
    port = free_port()
    config = work / "registry.yml"
    config.write_text(
        "version: 0.1\nlog: {level: error}\n"
        f"storage: {{filesystem: {{rootdirectory: {work}/registry}}}}\n"
        f"http: {{addr: 127.0.0.1:{port}}}\n"
    )
    with running(["docker-registry", "serve", str(config)]):
        wait_for(lambda: urllib.request.urlopen(f"http://127.0.0.1:{port}/v2/").status == 200)
        yield port


def push_image(work: pathlib.Path, name: str) -> int:
    """An image of three gzip layers with files as they are on a Debian system."""
    layout = work / "layout"
    run(["umoci", "init", "--layout", str(layout)])
    run(["umoci", "new", "--image", f"{layout}:1"])
    size = 0
    for source in ["/usr/lib/python3", "/usr/share/perl", "/usr/bin"]:
        run(["umoci", "insert", "--image", f"{layout}:1", source, source])
        size += tree_size(pathlib.Path(source))
    run(["skopeo", "copy", "--dest-tls-verify=false", f"oci:{layout}:1", f"docker://{name}"])
    return size


def pull_with_edgelet(dist: pathlib.Path, name: str, port: int) -> tuple:
    with tempfile.TemporaryDirectory(prefix="edgelet-bench") as prefix:
        etc = pathlib.Path(prefix, "etc/edgelet")
        etc.mkdir(parents=True)
        (etc / "config.toml").write_text(f'[registries."127.0.0.1:{port}"]\ninsecure = true\n')
        environment = {**os.environ, "EDGELET_PREFIX": prefix}
        program = str(dist / "edgelet")
        with running([program, "daemon"], environment) as daemon:
            wait_for(lambda: subprocess.run([program, "system", "status"], env=environment, **QUIET).returncode == 0)
            before = cpu_seconds(daemon.pid)
            sample = timed([program, "--quiet", "image", "pull", name], environment)
            return sample[0], (cpu_seconds(daemon.pid) - before) * 1000, peak_kib(daemon.pid)


def pull_with_podman(name: str) -> tuple:
    with tempfile.TemporaryDirectory(prefix="edgelet-bench") as root:
        store = ["--root", f"{root}/root", "--runroot", f"{root}/run"]
        sample = timed(["podman", *store, "pull", "--quiet", "--tls-verify=false", name])
        run(["podman", *store, "unshare", "true"], check=False)
        run(["umount", f"{root}/root/overlay"], check=False)
        return sample


def pull_with_containerd(name: str) -> tuple:
    with tempfile.TemporaryDirectory(prefix="edgelet-bench") as root:
        address = f"{root}/containerd.sock"
        config = pathlib.Path(root, "config.toml")
        config.write_text('version = 2\ndisabled_plugins = ["io.containerd.grpc.v1.cri"]\n')
        server = ["containerd", "--config", str(config), "--root", f"{root}/root", "--state", f"{root}/state", "--address", address]
        with running(server) as daemon:
            client = ["ctr", "--address", address]
            wait_for(lambda: subprocess.run([*client, "version"], **QUIET).returncode == 0)
            before = cpu_seconds(daemon.pid)
            sample = timed([*client, "images", "pull", "--plain-http", name])
            return sample[0], (cpu_seconds(daemon.pid) - before) * 1000, peak_kib(daemon.pid)


QUIET = {"stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL}


def timed(command: list, environment: dict | None = None) -> tuple:
    """Wall and CPU milliseconds and peak KiB of a program and what it waited for; it must succeed."""
    started = time.monotonic()
    process = subprocess.Popen(command, env=environment, stdin=subprocess.DEVNULL, **QUIET)
    _, status, usage = os.wait4(process.pid, 0)
    wall = time.monotonic() - started
    process.returncode = os.waitstatus_to_exitcode(status)
    if process.returncode != 0:
        sys.exit(f"{' '.join(command)}: exit code {process.returncode}")
    # A program starts as a copy of this one: a peak below our own is ours.
    peak = usage.ru_maxrss if usage.ru_maxrss > resource.getrusage(resource.RUSAGE_SELF).ru_maxrss else 0
    return wall * 1000, (usage.ru_utime + usage.ru_stime) * 1000, peak


def report(samples: dict, ours: str) -> None:
    print(f"{'':14}{'wall min':>10}{'median':>10}{'max':>10}{'cpu':>10}{'peak':>10}   us / it (median of wall)")
    own = statistics.median(sample[0] for sample in samples[ours])
    for name, rows in samples.items():
        walls, cpus, peaks = zip(*rows)
        median = statistics.median(walls)
        peak = statistics.median(peaks)
        print(
            f"{name:14}{min(walls):10.1f}{median:10.1f}{max(walls):10.1f}"
            f"{statistics.median(cpus):10.1f}{f'{peak:.0f}' if peak else '-':>10}   {own / median:.2f}"
        )


@contextlib.contextmanager
def running(command: list, environment: dict | None = None):
    process = subprocess.Popen(command, env=environment, stdin=subprocess.DEVNULL, **QUIET)
    try:
        yield process
    finally:
        process.terminate()
        process.wait(timeout=30)


def wait_for(ready) -> None:
    deadline = time.monotonic() + 30
    while True:
        with contextlib.suppress(OSError):
            if ready():
                return
        if time.monotonic() > deadline:
            sys.exit("waited 30 s for a server")
        time.sleep(0.05)


def run(command: list, check: bool = True) -> None:
    subprocess.run(command, check=check, stdout=subprocess.DEVNULL, stderr=None if check else subprocess.DEVNULL)


def cpu_seconds(pid: int) -> float:
    fields = pathlib.Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def peak_kib(pid: int) -> int:
    status = pathlib.Path(f"/proc/{pid}/status").read_text()
    return next(int(line.split()[1]) for line in status.splitlines() if line.startswith("VmHWM:"))


def tree_size(top: pathlib.Path) -> int:
    files = (path for path in top.rglob("*") if path.is_file() and not path.is_symlink())
    return sum(path.stat().st_size for path in files)


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


PARTS = {"runtime": bench_runtimes, "pull": bench_pulls}

if __name__ == "__main__":
    main()

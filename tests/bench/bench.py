"""Us and our peers, in turn, in one run: what a difference means is the ratio, not the absolute time.

usage: bench.py DIST_DIR [runtime] [pull]
"""

import contextlib
import json
import os
import pathlib
import resource
import shutil
import socket
import statistics
import subprocess
import sys
import tempfile
import time
import urllib.request

RUNTIME_ROUNDS = 60
PULL_ROUNDS = 5


def main() -> None:
    dist = pathlib.Path(sys.argv[1])
    wanted = sys.argv[2:] or ["runtime", "pull"]
    for part in wanted:
        with tempfile.TemporaryDirectory(prefix="edgelet-bench") as directory:
            PARTS[part](dist, pathlib.Path(directory))


def bench_runtimes(dist: pathlib.Path, work: pathlib.Path) -> None:
    """Container start to exit of /bin/true: `run` of each runtime over the same bundle."""
    bundle = make_bundle(work)
    programs = {"edgelet-oci": dist / "edgelet-oci", "crun": shutil.which("crun"), "runc": shutil.which("runc")}
    samples = {name: [] for name in programs}
    for number in range(RUNTIME_ROUNDS + 3):
        for name, program in programs.items():
            container = f"bench-{name}-{number}"
            root = str(work / f"state-{name}")
            sample = timed([str(program), "--root", root, "run", "--bundle", str(bundle), container])
            if number >= 3:  # the first rounds warm the caches
                samples[name].append(sample)
    print(f"\nrun of /bin/true, {RUNTIME_ROUNDS} rounds in turn (ms, KiB)")
    report(samples, "edgelet-oci")


def make_bundle(work: pathlib.Path) -> pathlib.Path:
    bundle = work / "bundle"
    binaries = bundle / "rootfs" / "bin"
    binaries.mkdir(parents=True)
    shutil.copy("/bin/busybox", binaries / "busybox")
    (binaries / "true").symlink_to("busybox")
    for name in ["proc", "dev", "sys"]:
        (bundle / "rootfs" / name).mkdir()
    # What `runc spec` writes, less the terminal and the limits that need CAP_SYS_RESOURCE.
    subprocess.run(["runc", "spec", "--bundle", bundle], check=True)
    config = json.loads((bundle / "config.json").read_text())
    config["process"].update(terminal=False, args=["/bin/true"])
    config["process"].pop("rlimits", None)
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

"""What podman makes of containers: images, hooks, and pods from a file."""

import json
import re

from .cases import case
from .doing import Outcome, Skipped, holds, same
from .kernel import has_limits
from .place import IMAGE, UNIFIED, WORK
from .podman import attempt, once, podman, sh, start, state


@case
def build_runs_its_steps() -> None:
    steps = ["RUN echo made >/made && test -c /dev/null", "USER user", "WORKDIR /data", "RUN pwd && id -u"]
    done = _build(*steps)
    same((done.code, done.err), (0, ""), "build")
    holds(done.out, "/data\n1000\n")
    same(once("built", "cat", "/made"), "made", "a file of a step")
    same(_build("RUN exit 3").code, 3, "exit code of a step that fails")
    holds(_build('RUN ["/no/such"]').err, "/no/such")
    podman("image", "rm", "--force", "built")


def _build(*steps: str) -> Outcome:
    (WORK / "Containerfile").write_text("\n".join([f"FROM {IMAGE}", *steps]) + "\n")
    return attempt("build", "--network", "none", "--isolation", "oci", "--memory", "64m", "--tag", "built",
                   "--file", f"{WORK}/Containerfile", str(WORK / "rootfs/data"))


@case
def commit_pauses_and_goes_on() -> None:
    start(*sh("echo own >/own; sleep 1000"))
    podman("commit", "--quiet", "--pause", "c", "committed")
    same(state()["Status"], "running", "state")
    same(once("committed", "cat", "/own"), "own", "a file of the container")
    podman("image", "rm", "--force", "committed")


@case
def hooks_are_told_the_state() -> None:
    hooks = WORK / "hooks"
    hooks.mkdir(exist_ok=True)
    program, told = WORK / "hook", WORK / "told"
    program.write_text(f'#!/bin/sh\necho "$1 $OWN $(cat)" >>{told}\n')
    program.chmod(0o755)
    stages = ["prestart", "createRuntime", "poststart", "poststop"]
    for stage in stages:
        hook = {"path": str(program), "args": ["hook", stage], "env": ["OWN=1"]}
        text = {"version": "1.0.0", "hook": hook, "when": {"always": True}, "stages": [stage]}
        (hooks / f"{stage}.json").write_text(json.dumps(text))
    podman("--hooks-dir", str(hooks), "run", "--name", "c", "--network", "none", IMAGE, "true")
    podman("rm", "c")
    lines = [line.split(" ", 2) for line in told.read_text().splitlines()]
    same([line[:2] for line in lines], [[stage, "1"] for stage in stages], "hooks")
    states = [json.loads(line[2]) for line in lines]
    same({len(re.sub("[^0-9a-f]", "", each["id"])) for each in states}, {64}, "length of ids")
    same([each["status"] for each in states[2:]], ["running", "stopped"], "states")
    program.write_text("#!/bin/sh\nexit 3\n")
    same(attempt("--hooks-dir", str(hooks), "run", "--rm", IMAGE, "true").code, 126, "exit code with a failing hook")


@case
def pods_come_from_a_file() -> None:
    if UNIFIED and " 4.3." in podman("--version"):
        raise Skipped("podman 4.3 forbids a pod's group all devices")
    first = {
        "name": "a", "image": IMAGE, "command": ["sh", "-c", "id -u; touch /x 2>&1; sleep 1000"],
        "resources": {"limits": {"memory": "64Mi", "cpu": "0.5"}},
        "securityContext": {"runAsUser": 1000, "readOnlyRootFilesystem": True, "capabilities": {"drop": ["ALL"]}},
    }
    second = {"name": "b", "image": IMAGE, "command": ["sleep", "1000"]}
    spec = {"hostNetwork": True, "containers": [first, second]}
    file = WORK / "pod.json"
    file.write_text(json.dumps({"apiVersion": "v1", "kind": "Pod", "metadata": {"name": "p"}, "spec": spec}))
    podman("play", "kube", str(file))
    has_limits(state("p-a")["Pid"], memory=64 << 20, quota=50000)
    same(podman("logs", "p-a"), "1000\ntouch: /x: Read-only file system", "its log")
    same(state("p-b")["Status"], "running", "state")
    podman("play", "kube", "--down", str(file))
    same(podman("ps", "--all", "--quiet"), "", "containers")

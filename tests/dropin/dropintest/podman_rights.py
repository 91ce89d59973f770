"""Files, rights and namespaces of a container under podman."""

import contextlib
import json
import os
import pathlib
import shutil
import urllib.request

from .cases import case
from .doing import Skipped, holds, output, same, wait_for
from .kernel import capabilities, status_field
from .place import GROUPS, IMAGE, UNIFIED, WORK, mount, run
from .podman import inspect, once, podman, remove_all, sh, start, state, tried

MAPS = ["--uidmap", "0:100000:65536", "--gidmap", "0:200000:65536"]


@case
def a_read_only_root_leaves_places_to_write() -> None:
    holds(tried("--read-only", *sh("touch /file")).err, "Read-only file system")
    once("--read-only", *sh("touch /tmp/file /run/file /dev/shm/file"))
    once("--read-only", "--read-only-tmpfs=false", *sh("touch /tmp/file"), code=1)


@case
def volumes_are_bound_as_asked() -> None:
    place = WORK / "volume"
    place.mkdir()
    (place / "file").write_text("of the machine\n")
    once("--volume", f"{place}:/v", *sh("grep -q machine /v/file && echo made >/v/made"))
    same((place / "made").read_text(), "made\n", "what was written")
    holds(tried("--volume", f"{place}:/v:ro", *sh("touch /v/other")).err, "Read-only file system")
    same(once("--volume", f"{place}/file:/data/file", IMAGE, "cat", "/data/file"), "of the machine", "a file")
    holds(once("--volume", f"{place}:/v:noexec,nosuid", *sh("grep ' /v ' /proc/mounts")), "nosuid,noexec")
    once("--volume", "kept:/data", *sh("echo more >>/data/file"))
    kept = once("--volume", "kept:/data", IMAGE, "cat", "/data/file")
    same(kept, "of the image\nmore", "a volume of podman's own")
    once("--volume", f"{place}:/v:O", *sh("rm /v/file"))
    same((place / "file").exists(), True, "the file below an overlay")
    shutil.rmtree(place)
    podman("volume", "rm", "kept")


@case
def a_volume_shows_owners_by_a_mapping() -> None:
    if tuple(int(number) for number in os.uname().release.split(".")[:2]) < (6, 3):
        raise Skipped("this kernel maps no owners in memory file systems")
    place = WORK / "mapped"
    place.mkdir()
    once(*MAPS, "--volume", f"{place}:/v:idmap", *sh("touch /v/file && test $(stat -c %u /v/file) = 0"))
    same((place / "file").stat().st_uid, 0, "owner outside")


@case
def mounts_of_the_machine_reach_a_slave() -> None:
    place = WORK / "shared"
    place.mkdir()
    mount("tmpfs", str(place))
    run(["mount", "--make-shared", str(place)])
    (place / "later").mkdir()
    try:
        start("--volume", f"{place}:/v:rslave", "--volume", f"{place}:/p:rprivate", IMAGE, "sleep", "1000")
        mount("tmpfs", str(place / "later"))
        (place / "later/file").write_text("late")
        same(podman("exec", "c", "cat", "/v/later/file"), "late", "below a slave")
        podman("exec", "c", "test", "-e", "/p/later/file", code=1)
    finally:
        remove_all()
        run(["umount", "--recursive", str(place)])


@case
def tmpfs_is_empty_or_a_copy_and_has_its_size() -> None:
    same(once("--tmpfs", "/data", IMAGE, "cat", "/data/file"), "of the image", "a copy")
    once("--tmpfs", "/data:notmpcopyup", *sh("test -e /data/file"), code=1)
    done = tried("--tmpfs", "/t:size=1m,mode=1777", *sh("stat -c %a /t; dd if=/dev/zero of=/t/file bs=64k count=32"))
    same(done.out, "1777\n", "mode")
    holds(done.err, "No space left on device")
    holds(once("--shm-size", "7m", *sh("grep ' /dev/shm ' /proc/mounts")), "size=7168k")


@case
def devices_are_given_with_their_rights() -> None:
    name = next((name for name in ["fuse", "loop-control", "net/tun"] if pathlib.Path("/dev", name).exists()), None)
    if name is None:
        raise Skipped("no device to give")
    device = os.stat(f"/dev/{name}").st_rdev
    again = f"mknod /dev/own c {os.major(device)} {os.minor(device)} && exec 3</dev/own"
    read, write = "exec 3</dev/given", "exec 3>/dev/given"
    once("--device", f"/dev/{name}:/dev/given:rw", *sh(f"{read}; {write}"))
    once("--device", f"/dev/{name}:/dev/given:r", *sh(read))
    holds(tried("--device", f"/dev/{name}:/dev/given:r", *sh(write)).err, "Operation not permitted")
    holds(tried("--cap-add", "MKNOD", *sh(again)).err, "Operation not permitted")
    once("--privileged", *sh(again))


@case
def capabilities_are_as_asked() -> None:
    script = sh("grep CapEff /proc/self/status | cut -f2")
    same(int(once("--cap-drop", "ALL", *script), 16), 0, "none")
    same(int(once("--cap-drop", "ALL", "--cap-add", "NET_BIND_SERVICE", *script), 16), 1 << 10, "one")
    same(int(once("--privileged", *script), 16), capabilities("self"), "all")
    same(int(once("--user", "user", *script), 16), 0, "those of a user")
    same(int(once("--user", "user", "--cap-add", "NET_RAW", *script), 16), 1 << 13, "one that a user is given")
    once("--cap-drop", "CHOWN", *sh("touch /file; chown 1 /file"), code=1)


@case
def security_options_are_in_force() -> None:
    field = sh("grep NoNewPrivs /proc/self/status | cut -f2")
    same(once("--security-opt", "no-new-privileges", *field), "1", "no new privileges")
    seccomp = sh("grep Seccomp: /proc/self/status | cut -f2")
    same(once(*seccomp), "2", "the usual filter")
    same(once("--security-opt", "seccomp=unconfined", *seccomp), "0", "no filter")
    profile = WORK / "seccomp.json"
    rules = [{"names": ["mkdir", "mkdirat"], "action": "SCMP_ACT_ERRNO", "errnoRet": 38},
             {"names": ["chmod", "fchmodat"], "action": "SCMP_ACT_KILL_PROCESS"}]
    profile.write_text(json.dumps({"defaultAction": "SCMP_ACT_ALLOW", "syscalls": rules}))
    holds(tried("--security-opt", f"seccomp={profile}", *sh("mkdir /made")).err, "Function not implemented")
    once("--security-opt", f"seccomp={profile}", IMAGE, "chmod", "700", "/data", code=159)


@case
def paths_are_hidden_and_read_only() -> None:
    same(once(*sh("wc -c </proc/keys")), "0", "what is hidden")
    name = "/proc/sys/kernel/domainname"
    holds(tried(*sh(f"echo own >{name}")).err, "Read-only file system")
    once("--security-opt", "unmask=ALL", *sh(f"echo own >{name}"))
    same(once("--security-opt", "mask=/data/file", *sh("wc -c </data/file")), "0", "what is asked to be hidden")


@case
def user_and_groups_are_as_asked() -> None:
    want = "uid=1000(user) gid=1000(user) groups=1000(user),2000(more)"
    same(once("--user", "user", IMAGE, "id"), want, "user")
    same(once("--user", "5:6", "--group-add", "7", *sh("id -u; id -g; id -G")), "5\n6\n6 7", "numbers")
    same(once("--user", "user", *sh("echo $HOME; touch /tmp/x && stat -c %u /tmp/x")), "/data\n1000", "home")
    same(once("--umask", "0027", *sh("umask; touch /x; stat -c %a /x")), "0027\n640", "umask")


@case
def sysctl_ulimit_and_oom_score_are_set() -> None:
    options = ["--sysctl", "net.ipv4.ip_default_ttl=77", "--sysctl", "kernel.shm_rmid_forced=1"]
    files = "/proc/sys/net/ipv4/ip_default_ttl /proc/sys/kernel/shm_rmid_forced"
    same(once(*options, *sh(f"cat {files}")), "77\n1", "sysctl")
    # With one of the command line podman's own come back for the others.
    options = ["--ulimit", "nofile=300:400", "--ulimit", "core=0", "--ulimit", "nproc=99:99"]
    same(once(*options, *sh("ulimit -n; ulimit -Hn; ulimit -c")), "300\n400\n0", "limits")
    same(once("--oom-score-adj", "500", IMAGE, "cat", "/proc/self/oom_score_adj"), "500", "score")
    done = tried("--sysctl", "kernel.pid_max=9999", IMAGE, "true", network="host")
    same(done.code != 0, True, "one of the machine is refused")


@case
def user_namespaces_map_ids() -> None:
    pid = start(*MAPS, *sh("touch /own; sleep 1000"))
    same(podman("exec", "c", "cat", "/proc/self/uid_map").split(), ["0", "100000", "65536"], "map")
    same(status_field(pid, "Uid").split()[0], "100000", "user outside")
    same(status_field(pid, "Gid").split()[0], "200000", "group outside")
    same(podman("exec", "c", "stat", "-c", "%u:%g", "/own"), "0:0", "owner of a new file")
    same(podman("exec", "c", "stat", "-c", "%u:%g", "/data/file"), "0:0", "owner of a file of the image")
    same(podman("exec", "--user", "user", "c", "id", "-u"), "1000", "an exec")
    once(*MAPS, "--user", "user", *sh("echo >/dev/null && test $(id -u) = 1000"))
    once(*MAPS, "--privileged", *sh("mount -t tmpfs none /tmp"))
    once(*MAPS, "-t", *sh("test -t 0 && echo >/dev/console && echo >/dev/tty"))
    joined = once("--userns", "container:c", IMAGE, "cat", "/proc/self/uid_map")
    same(joined.split(), ["0", "100000", "65536"], "map of one that is joined")


@case
def namespaces_are_shared_or_private() -> None:
    names = ["cgroup", "ipc", "mnt", "net", "pid", "user", "uts"]
    script = f"cd /proc/self/ns; for name in {' '.join(names)}; do readlink $name; done"

    def private(*words: str) -> list[str]:
        links = once(*words, *sh(script)).split()
        return [name for name, link in zip(names, links, strict=True) if link != os.readlink(f"/proc/self/ns/{name}")]

    same(private(), [*(["cgroup"] if UNIFIED else []), "ipc", "mnt", "net", "pid", "uts"], "private namespaces")
    hosts = ["--pid", "host", "--ipc", "host", "--uts", "host"]
    same(private(*hosts, "--cgroupns", "private"), ["cgroup", "mnt", "net"], "private namespaces")
    same(private("--cgroupns", "host"), ["ipc", "mnt", "net", "pid", "uts"], "private namespaces")
    same(once("--cgroupns", "private", *sh("cut -d: -f3 /proc/self/cgroup | sort -u")), "/", "groups that it sees")
    first = pathlib.Path("/proc/1/comm").read_text().strip()
    same(once("--pid", "host", *sh("cat /proc/1/comm")), first, "first process")
    start(IMAGE, "sleep", "1000")
    same(once("--pid", "container:c", *sh("tr '\\0' ' ' </proc/1/cmdline")), "sleep 1000", "first process")
    link = ["readlink", "/proc/self/ns/net"]
    same(once(IMAGE, *link, network="container:c"), podman("exec", "c", *link), "network")


@case
def an_init_process_waits_for_orphans() -> None:
    script = "cat /proc/1/comm; sh -c 'sleep 0.1 & exit'; sleep 0.5; grep -l 'State:.Z' /proc/[0-9]*/status; exit 3"
    text = once("--init", *sh(script), code=3)
    same(text in ["catatonit", "podman-init"], True, f"first process {text}")


@case
def networks_are_none_host_or_bridge() -> None:
    same(once(*sh("ls /sys/class/net")), "lo", "interfaces of none")
    own = os.readlink("/proc/self/ns/net")
    same(once(*sh("readlink /proc/self/ns/net"), network="host"), own, "network of the machine")
    for maps in [[], MAPS]:
        page = sh("echo page >/index.html; exec httpd -f -p 80 -h /")
        start("--publish", "8080:80", *maps, *page, network="bridge")
        holds(podman("exec", "c", "ip", "addr", "show", "eth0"), "inet 10.88.")
        for address in [inspect()["NetworkSettings"]["IPAddress"], "127.0.0.1:8080"]:
            wait_for(f"a page from {address}", lambda: _page(address) == "page\n")
        remove_all()


def _page(address: str) -> str:
    with contextlib.suppress(OSError):
        return urllib.request.urlopen(f"http://{address}", timeout=2).read().decode()
    return ""


@case
def pods_share_namespaces() -> None:
    if UNIFIED and " 4.3." in podman("--version"):
        raise Skipped("podman 4.3 forbids a pod's group all devices")
    podman("pod", "create", "--name", "p", "--network", "none", "--share", "net,ipc,uts,pid", "--hostname", "ours")
    podman("run", "--detach", "--pod", "p", "--name", "c", IMAGE, "sleep", "1000")
    podman("run", "--detach", "--pod", "p", "--name", "d", IMAGE, "sleep", "1001")
    script = "cd /proc/self/ns; for name in net ipc uts pid mnt; do readlink $name; done"
    one, other = (podman("exec", name, "sh", "-c", script).split() for name in "cd")
    same((one[:4] == other[:4], one[4] == other[4]), (True, False), "shared namespaces, and that of mounts")
    same(podman("exec", "c", "hostname"), "ours", "host name")
    holds(podman("exec", "c", "ps"), "sleep 1001")
    podman("pod", "pause", "p")
    same(state("d")["Status"], "paused", "state")
    podman("pod", "unpause", "p")
    podman("pod", "restart", "p")
    same((state("c")["Status"], state("d")["Status"]), ("running", "running"), "states after a restart")
    podman("pod", "stop", "--time", "0", "p")
    same((state("c")["Status"], state("d")["Status"]), ("exited", "exited"), "states")
    podman("pod", "rm", "p")


@case
def a_privileged_container_may_mount() -> None:
    once("--privileged", *sh("mount -t tmpfs none /tmp && echo own >/proc/sys/kernel/domainname && test -e /dev/full"))
    holds(tried(*sh("mount -t tmpfs none /tmp")).err, "permission denied")


@case
def descriptors_are_passed_on() -> None:
    (WORK / "passed").write_text("of the caller")
    command = ["podman", "run", "--rm", "--network", "none"]
    redirected = ["sh", "-c", f'exec "$@" 3<{WORK}/passed', "sh"]
    text = output([*redirected, *command, "--preserve-fds", "1", *sh("cat <&3")])
    same(text, "of the caller", "descriptor 3")
    # As a service manager hands sockets over.
    handed = ["sh", "-c", f'export LISTEN_FDS=1 LISTEN_PID=$$; exec "$@" 3<{WORK}/passed', "sh"]
    text = output([*handed, *command, *sh("echo $LISTEN_FDS $LISTEN_PID; cat <&3")])
    same(text, "1 1\nof the caller", "descriptor 3")
    same(once(*sh("ls /proc/self/fd")).split(), ["0", "1", "2", "3"], "descriptors, with the one of ls")


@case
def the_root_may_be_a_directory_and_the_groups_elsewhere() -> None:
    text = once("--rootfs", f"{WORK}/rootfs:O", "/bin/cat", "/data/file")
    same(text, "of the image", "a file of the root")
    pid = start("--cgroup-parent", "/elsewhere", IMAGE, "sleep", "1000")
    holds(pathlib.Path(f"/proc/{pid}/cgroup").read_text(), ":/elsewhere/libpod-")
    same(any(GROUPS.glob("**/elsewhere")), True, "the group is there")

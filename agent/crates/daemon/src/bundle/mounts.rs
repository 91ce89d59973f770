//! What a container sees of the machine's file systems.

use super::spec::Facts;
use edgelet_types::Workload;
use serde_json::{Value, json};

/// `/dev/shm` when the workload does not say; what every engine gives.
const SHM_BYTES: u64 = 64 << 20;

/// The mounts, in the order in which the runtime makes them: the kernel's first, then ours, then the
/// workload's own, which may lie on top of any of them.
pub fn mounts(workload: &Workload, facts: &Facts<'_>) -> Vec<Value> {
    let spec = &workload.spec;
    let shm = format!("size={}", spec.shm_bytes.unwrap_or(SHM_BYTES));
    let sys_access = if spec.privileged { "rw" } else { "ro" };
    let mut mounts = vec![
        mount("proc", "proc", "/proc", &["nosuid", "noexec", "nodev"]),
        mount("tmpfs", "tmpfs", "/dev", &["nosuid", "strictatime", "mode=755", "size=65536k"]),
        mount(
            "devpts",
            "devpts",
            "/dev/pts",
            &["nosuid", "noexec", "newinstance", "ptmxmode=0666", "mode=0620", "gid=5"],
        ),
    ];
    match spec.host_ipc {
        true => mounts.extend(["/dev/shm", "/dev/mqueue"].map(|path| bind(path, path, &["rbind", "rw"]))),
        false => mounts.extend([
            mount("tmpfs", "shm", "/dev/shm", &["nosuid", "noexec", "nodev", "mode=1777", &shm]),
            mount("mqueue", "mqueue", "/dev/mqueue", &["nosuid", "noexec", "nodev"]),
        ]),
    }
    // Also with the host's network: what else the host has mounted below its own stays out of reach.
    mounts.push(mount("sysfs", "sysfs", "/sys", &["nosuid", "noexec", "nodev", sys_access]));
    if facts.cgroup_mount {
        mounts.push(mount(
            "cgroup",
            "cgroup",
            "/sys/fs/cgroup",
            &["nosuid", "noexec", "nodev", "relatime", "ro"],
        ));
    }
    // Read-only: they lie below `/run`, whose memory is not the workload's to fill.
    for name in ["hostname", "hosts", "resolv.conf"] {
        let source = facts.bundle.join(name);
        mounts.push(bind(
            &source.to_string_lossy(),
            &format!("/etc/{name}"),
            &["bind", "ro", "nosuid", "nodev"],
        ));
    }
    mounts.extend(spec.tmpfs.iter().map(|tmpfs| {
        let mode = format!("mode={:o}", tmpfs.mode.unwrap_or(0o1777));
        let size = tmpfs.bytes.map(|bytes| format!("size={bytes}"));
        let options: Vec<&str> = ["nosuid", "nodev", &mode].into_iter().chain(size.as_deref()).collect();
        mount("tmpfs", "tmpfs", &tmpfs.container, &options)
    }));
    mounts.extend(spec.binds.iter().map(|bound| {
        let access = if bound.read_only { "ro" } else { "rw" };
        let mut options = vec!["rbind", "rprivate", access];
        // Owners on disk are those that the workload sees, whichever ids stand for them in this run.
        options.extend(spec.own_users.then_some("ridmap"));
        bind(&bound.host, &bound.container, &options)
    }));
    mounts
}

fn mount(kind: &str, source: &str, destination: &str, options: &[&str]) -> Value {
    json!({ "destination": destination, "type": kind, "source": source, "options": options })
}

fn bind(source: &str, destination: &str, options: &[&str]) -> Value {
    mount("bind", source, destination, options)
}

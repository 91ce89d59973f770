//! `spec.container`: how the program is run.

use super::ManifestError;
use super::check::{absolute, at, cpu_list, mib, not_supported};
use super::file::{Container, Port, Ulimit, Variable};
use super::mounts;
use edgelet_types::workload::{Network, Resources, ULIMITS};
use edgelet_types::{Platform, WorkloadSpec};
use std::collections::BTreeMap;

/// Checks everything in `spec.container` and puts it into `spec`.
pub(super) fn apply(container: Container, spec: &mut WorkloadSpec) -> Result<(), ManifestError> {
    refuse_unsupported(&container)?;
    spec.resources = resources(&container)?;
    mounts::apply(container.volumes, container.tmpfs, container.devices, spec)?;

    spec.host_ipc = is_host("spec.container.ipcMode", container.ipc_mode.as_deref())?;
    spec.host_pid = is_host("spec.container.pidMode", container.pid_mode.as_deref())?;
    spec.network = match container.host_network_mode {
        true => Network::Host,
        false => Network::None,
    };
    ports(&container.ports, spec.network)?;
    spec.sysctls = sysctls(container.sysctls, spec)?;
    spec.ulimits = ulimits(container.ulimits)?;
    spec.cap_add = capabilities("spec.container.capAdd", &container.cap_add)?;
    spec.cap_drop = capabilities("spec.container.capDrop", &container.cap_drop)?;
    if spec.cap_add.iter().any(|cap| cap == "ALL") {
        return Err(not_supported("spec.container.capAdd: ALL", "; name them, or use isPrivileged"));
    }
    spec.env = environment(container.env)?;
    (spec.user, spec.group) = identity(container.run_as_user, container.run_as_group)?;
    spec.platform = platform(container.platform.as_deref())?;
    spec.working_dir = container
        .working_dir
        .filter(|dir| !dir.is_empty())
        .map(|dir| absolute("spec.container.workingDir", &dir))
        .transpose()?;
    spec.shm_bytes = container.shm_size.map(|size| mib("spec.container.shmSize", size)).transpose()?;

    spec.privileged = container.is_privileged;
    spec.own_users = own_users(container.userns.as_deref(), spec.privileged)?;
    spec.read_only_root = container.read_only_root_filesystem;
    spec.entrypoint = words("spec.container.entrypoint", container.entrypoint)?;
    spec.command = words("spec.container.commands", container.commands)?;
    spec.annotations = container.annotations;
    Ok(())
}

fn refuse_unsupported(container: &Container) -> Result<(), ManifestError> {
    let present = [
        ("spec.container.runtime", container.runtime.as_deref().is_some_and(|name| !name.is_empty())),
        ("spec.container.cdiDevices", !container.cdi_devices.is_empty()),
        ("spec.container.extraHosts", !container.extra_hosts.is_empty()),
        ("spec.container.healthCheck", container.health_check.is_some()),
    ];
    match present.into_iter().find(|(_, present)| *present) {
        Some((path, _)) => Err(not_supported(path, "")),
        None => Ok(()),
    }
}

fn is_host(path: &str, mode: Option<&str>) -> Result<bool, ManifestError> {
    match mode {
        None | Some("" | "private") => Ok(false),
        Some("host") => Ok(true),
        Some(other) => Err(not_supported(format!("{path}: {other:?}"), "; host and private are")),
    }
}

fn own_users(mode: Option<&str>, privileged: bool) -> Result<bool, ManifestError> {
    let path = "spec.container.userns";
    match mode {
        None | Some("" | "host") => Ok(false),
        Some("auto") if privileged => Err(at(path, "auto would take from isPrivileged what it is for")),
        Some("auto") => Ok(true),
        Some(_) => Err(at(path, "must be auto or host")),
    }
}

/// With the host's network a port is open as it is, so the list can only state what is true anyway.
fn ports(ports: &[Port], network: Network) -> Result<(), ManifestError> {
    for (at_index, port) in ports.iter().enumerate() {
        let path = format!("spec.container.ports[{at_index}]");
        if network != Network::Host {
            return Err(not_supported(path, " without hostNetworkMode: true"));
        }
        if port.internal != port.external || port.internal == 0 {
            return Err(at(path, "with hostNetworkMode, internal and external must be the same port"));
        }
        if !matches!(port.protocol.as_deref(), None | Some("" | "tcp" | "udp" | "TCP" | "UDP")) {
            return Err(at(format!("{path}.protocol"), "must be tcp or udp"));
        }
    }
    Ok(())
}

/// Settings that belong to a namespace of the container and cannot harm others.
const SYSCTLS: &[&str] = &[
    "kernel.shm_rmid_forced",
    "net.ipv4.ip_local_port_range",
    "net.ipv4.tcp_syncookies",
    "net.ipv4.ping_group_range",
    "net.ipv4.ip_unprivileged_port_start",
    "net.ipv4.ip_local_reserved_ports",
    "net.ipv4.tcp_keepalive_time",
    "net.ipv4.tcp_fin_timeout",
    "net.ipv4.tcp_keepalive_intvl",
    "net.ipv4.tcp_keepalive_probes",
    "net.ipv4.tcp_rmem",
    "net.ipv4.tcp_wmem",
    "net.ipv4.tcp_slow_start_after_idle",
    "net.ipv4.tcp_notsent_lowat",
];

fn sysctls(
    sysctls: BTreeMap<String, String>,
    spec: &WorkloadSpec,
) -> Result<BTreeMap<String, String>, ManifestError> {
    const IPC: [&str; 4] = ["kernel.shm", "kernel.msg", "kernel.sem", "fs.mqueue."];
    for key in sysctls.keys() {
        let path = format!("spec.container.sysctls.{key}");
        if !SYSCTLS.contains(&key.as_str()) {
            return Err(at(path, format!("must be one of {}", SYSCTLS.join(", "))));
        }
        if spec.network == Network::Host && key.starts_with("net.") {
            return Err(at(path, "would change the host's network; not with hostNetworkMode"));
        }
        if spec.host_ipc && IPC.iter().any(|prefix| key.starts_with(prefix)) {
            return Err(at(path, "would change the host's IPC; not with ipcMode: host"));
        }
    }
    Ok(sysctls)
}

fn ulimits(
    ulimits: BTreeMap<String, Ulimit>,
) -> Result<BTreeMap<String, edgelet_types::workload::Ulimit>, ManifestError> {
    let bound = |path: &str, value: i64| match value {
        -1 => Ok(None),
        value => u64::try_from(value).map(Some).map_err(|_| at(path, "must be 0 or more, or -1")),
    };
    let mut checked = BTreeMap::new();
    for (name, limit) in ulimits {
        let path = format!("spec.container.ulimits.{name}");
        if !ULIMITS.contains(&name.as_str()) {
            return Err(at(path, format!("must be one of {}", ULIMITS.join(", "))));
        }
        let (soft, hard) = (bound(&path, limit.soft)?, bound(&path, limit.hard)?);
        // `None` is unlimited, the largest of all.
        if soft.unwrap_or(u64::MAX) > hard.unwrap_or(u64::MAX) {
            return Err(at(path, "soft must not exceed hard"));
        }
        checked.insert(name, edgelet_types::workload::Ulimit { soft, hard });
    }
    Ok(checked)
}

/// Names of capabilities(7), without `CAP_`.
const CAPABILITIES: &[&str] = &[
    "AUDIT_CONTROL",
    "AUDIT_READ",
    "AUDIT_WRITE",
    "BLOCK_SUSPEND",
    "BPF",
    "CHECKPOINT_RESTORE",
    "CHOWN",
    "DAC_OVERRIDE",
    "DAC_READ_SEARCH",
    "FOWNER",
    "FSETID",
    "IPC_LOCK",
    "IPC_OWNER",
    "KILL",
    "LEASE",
    "LINUX_IMMUTABLE",
    "MAC_ADMIN",
    "MAC_OVERRIDE",
    "MKNOD",
    "NET_ADMIN",
    "NET_BIND_SERVICE",
    "NET_BROADCAST",
    "NET_RAW",
    "PERFMON",
    "SETFCAP",
    "SETGID",
    "SETPCAP",
    "SETUID",
    "SYSLOG",
    "SYS_ADMIN",
    "SYS_BOOT",
    "SYS_CHROOT",
    "SYS_MODULE",
    "SYS_NICE",
    "SYS_PACCT",
    "SYS_PTRACE",
    "SYS_RAWIO",
    "SYS_RESOURCE",
    "SYS_TIME",
    "SYS_TTY_CONFIG",
    "WAKE_ALARM",
];

/// `net_admin` and `CAP_NET_ADMIN` both become the latter; `ALL` stays.
fn capabilities(path: &str, names: &[String]) -> Result<Vec<String>, ManifestError> {
    let capability = |(index, name): (usize, &String)| {
        let upper = name.to_ascii_uppercase();
        let short = upper.strip_prefix("CAP_").unwrap_or(&upper);
        match short {
            "ALL" => Ok("ALL".to_owned()),
            known if CAPABILITIES.contains(&known) => Ok(format!("CAP_{known}")),
            _ => Err(at(format!("{path}[{index}]"), format!("{name:?}: no such capability"))),
        }
    };
    names.iter().enumerate().map(capability).collect()
}

fn environment(variables: Vec<Variable>) -> Result<Vec<(String, String)>, ManifestError> {
    let variable = |(index, variable): (usize, Variable)| {
        let path = format!("spec.container.env[{index}].key");
        let Variable { key, value } = variable;
        if key.is_empty() || key.contains(['=', '\0']) || value.contains('\0') {
            return Err(at(path, format!("{key:?}: must be a name without '=', and no NUL anywhere")));
        }
        if key.starts_with("EDGELET_") {
            return Err(at(path, format!("{key}: EDGELET_ is reserved for the node")));
        }
        Ok((key, value))
    };
    variables.into_iter().enumerate().map(variable).collect()
}

fn identity(
    user: Option<String>,
    group: Option<String>,
) -> Result<(Option<String>, Option<String>), ManifestError> {
    let (user, group) = (user.filter(|text| !text.is_empty()), group.filter(|text| !text.is_empty()));
    if group.is_some() && user.as_deref().is_some_and(|user| user.contains(':')) {
        return Err(at("spec.container.runAsUser", "must not name a group when runAsGroup does"));
    }
    Ok((user, group))
}

fn platform(text: Option<&str>) -> Result<Option<Platform>, ManifestError> {
    text.filter(|text| !text.is_empty())
        .map(|text| Platform::parse(text).map_err(|error| at("spec.container.platform", error.to_string())))
        .transpose()
}

fn resources(container: &Container) -> Result<Resources, ManifestError> {
    let size = |name: &str, value: Option<i64>| {
        value.map(|value| mib(&format!("spec.container.{name}"), value)).transpose()
    };
    let memory_bytes = size("memoryLimit", container.memory_limit)?;
    Ok(Resources {
        cpu_millis: container.cpus.map(cpu_millis).transpose()?,
        cpuset: container
            .cpu_set_cpus
            .as_deref()
            .filter(|list| !list.is_empty())
            .map(|list| cpu_list("spec.container.cpuSetCpus", list))
            .transpose()?,
        memory_bytes,
        memory_reservation_bytes: size("memoryReservation", container.memory_reservation)?,
        memory_swap_bytes: container.memory_swap.map(|swap| memory_swap(swap, memory_bytes)).transpose()?,
        pids: None,
    })
}

fn cpu_millis(cpus: f64) -> Result<u64, ManifestError> {
    let millis = (cpus * 1000.0).round();
    match (1.0..=1e6).contains(&millis) {
        // In range, so neither the sign nor a digit is lost.
        #[allow(clippy::cast_possible_truncation, clippy::cast_sign_loss)]
        true => Ok(millis as u64),
        false => Err(at("spec.container.cpus", format!("{cpus}: must be between 0.001 and 1000 cores"))),
    }
}

/// Memory and swap together, so less than the memory alone makes no sense.
fn memory_swap(swap: i64, memory_bytes: Option<u64>) -> Result<i64, ManifestError> {
    const PATH: &str = "spec.container.memorySwap";
    if swap == -1 {
        return Ok(-1);
    }
    let bytes = mib(PATH, swap)?;
    match memory_bytes {
        None => Err(at(PATH, "needs memoryLimit")),
        Some(memory) if bytes < memory => {
            Err(at(PATH, "is memory and swap together, so it must not be below memoryLimit"))
        }
        Some(_) => i64::try_from(bytes).map_err(|_| at(PATH, "is too large")),
    }
}

fn words(path: &str, words: Vec<String>) -> Result<Vec<String>, ManifestError> {
    match words.iter().position(|word| word.contains('\0')) {
        Some(index) => Err(at(format!("{path}[{index}]"), "must not contain NUL")),
        None => Ok(words),
    }
}

//! Properties that this runtime does not implement. They are refused by name: a container that silently
//! lacks a protection or a limit is worse than none.

use crate::spec::{IsSet, Linux, Process, Resources, Spec};
use oci_spec::runtime::{LinuxMemory, LinuxSeccomp};

/// Looks for what is not supported in a whole configuration; answers the first property found.
pub(crate) fn refuse_unsupported(spec: &Spec) -> Result<(), String> {
    refuse(&[
        ("vm", spec.vm),
        ("windows", spec.windows),
        ("solaris", spec.solaris),
        ("zos", spec.zos),
        ("freebsd", spec.freebsd),
    ])?;
    spec.linux.as_ref().map_or(Ok(()), refuse_in_linux)?;
    let process = spec.process.as_ref().map_or(Ok(()), refuse_in_process);
    process.map_err(|field| format!("process.{field}"))
}

/// The same for the description of a process alone.
pub(crate) fn refuse_in_process(process: &Process) -> Result<(), String> {
    let username = process.user.username().as_ref();
    refuse(&[
        ("apparmorProfile", process.apparmor_profile),
        ("selinuxLabel", process.selinux_label),
        ("ioPriority", process.io_priority),
        ("scheduler", process.scheduler),
        ("execCPUAffinity", process.exec_cpu_affinity),
        ("commandLine", process.command_line),
        ("user.username", IsSet(username.is_some_and(|name| !name.is_empty()))),
    ])
}

fn refuse_in_linux(linux: &Linux) -> Result<(), String> {
    refuse(&[
        ("linux.netDevices", linux.net_devices),
        ("linux.mountLabel", linux.mount_label),
        ("linux.intelRdt", linux.intel_rdt),
        ("linux.memoryPolicy", linux.memory_policy),
        ("linux.personality", linux.personality),
    ])?;
    linux.seccomp.as_ref().map_or(Ok(()), refuse_in_seccomp)?;
    linux.resources.as_ref().map_or(Ok(()), refuse_in_resources)
}

fn refuse_in_seccomp(profile: &LinuxSeccomp) -> Result<(), String> {
    let path = profile.listener_path().as_ref();
    let metadata = profile.listener_metadata().as_ref();
    refuse(&[
        ("linux.seccomp.listenerPath", IsSet(path.is_some_and(|path| !path.as_os_str().is_empty()))),
        ("linux.seccomp.listenerMetadata", IsSet(metadata.is_some_and(|text| !text.is_empty()))),
    ])
}

fn refuse_in_resources(resources: &Resources) -> Result<(), String> {
    let is_set = |limit: fn(&LinuxMemory) -> Option<i64>| {
        IsSet(resources.memory.as_ref().and_then(limit).is_some_and(|bytes| bytes != 0))
    };
    // The kernel's limits on its own memory are gone since Linux 5.4 (v1) and were never in v2.
    #[allow(deprecated)]
    let kernel = is_set(LinuxMemory::kernel);
    refuse(&[
        ("linux.resources.memory.kernel", kernel),
        ("linux.resources.memory.kernelTCP", is_set(LinuxMemory::kernel_tcp)),
    ])
}

fn refuse(fields: &[(&str, IsSet)]) -> Result<(), String> {
    match fields.iter().find(|(_, is_set)| is_set.0) {
        Some((field, _)) => Err((*field).to_owned()),
        None => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn a_property_is_refused_by_name_unless_it_is_empty() {
        let process = |field: &str, value| json!({"user": {}, "cwd": "/", field: value});
        let cases = [
            (json!({"vm": {"kernel": {}}}), Err("vm")),
            (json!({"linux": {"intelRdt": {"closID": "x"}}}), Err("linux.intelRdt")),
            (json!({"linux": {"intelRdt": {}, "mountLabel": ""}, "vm": null}), Ok(())),
            (json!({"linux": {"resources": {"memory": {"kernel": 0, "kernelTCP": 0}}}}), Ok(())),
            (
                json!({"linux": {"resources": {"memory": {"kernel": 1}}}}),
                Err("linux.resources.memory.kernel"),
            ),
            (
                json!({"linux": {"resources": {"memory": {"kernelTCP": 1}}}}),
                Err("linux.resources.memory.kernelTCP"),
            ),
            (
                json!({"linux": {"seccomp": {"defaultAction": "SCMP_ACT_ALLOW", "listenerPath": "/x"}}}),
                Err("linux.seccomp.listenerPath"),
            ),
            (
                json!({"linux": {"seccomp": {"defaultAction": "SCMP_ACT_ALLOW", "listenerMetadata": "x"}}}),
                Err("linux.seccomp.listenerMetadata"),
            ),
            (json!({"process": process("apparmorProfile", json!("p"))}), Err("process.apparmorProfile")),
            (
                json!({"process": process("execCPUAffinity", json!({"initial": "0"}))}),
                Err("process.execCPUAffinity"),
            ),
            (json!({"process": process("user", json!({"username": "u"}))}), Err("process.user.username")),
            (json!({"process": process("selinuxLabel", json!(""))}), Ok(())),
            (json!({}), Ok(())),
        ];
        for (config, want) in cases {
            let spec: Spec = serde_json::from_value(config.clone()).expect("a configuration");
            assert_eq!(refuse_unsupported(&spec), want.map_err(str::to_owned), "{config}");
        }
    }
}

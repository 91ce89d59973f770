//! Properties that this runtime does not implement. They are refused by name: a container that silently
//! lacks a protection or a limit is worse than none.

use crate::spec::{IsSet, Linux, Process, Resources, Spec};
use oci_spec::runtime::LinuxMemory;

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
        ("commandLine", process.command_line),
        ("user.username", IsSet(username.is_some_and(|name| !name.is_empty()))),
    ])
}

fn refuse_in_linux(linux: &Linux) -> Result<(), String> {
    refuse(&[("linux.intelRdt", linux.intel_rdt)])?;
    linux.resources.as_ref().map_or(Ok(()), refuse_in_resources)
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
            (json!({"linux": {"intelRdt": {}}, "vm": null}), Ok(())),
            (json!({"linux": {"resources": {"memory": {"kernel": 0, "kernelTCP": 0}}}}), Ok(())),
            (
                json!({"linux": {"resources": {"memory": {"kernel": 1}}}}),
                Err("linux.resources.memory.kernel"),
            ),
            (
                json!({"linux": {"resources": {"memory": {"kernelTCP": 1}}}}),
                Err("linux.resources.memory.kernelTCP"),
            ),
            (json!({"process": process("user", json!({"username": "u"}))}), Err("process.user.username")),
            (json!({}), Ok(())),
        ];
        for (config, want) in cases {
            let spec: Spec = serde_json::from_value(config.clone()).expect("a configuration");
            assert_eq!(refuse_unsupported(&spec), want.map_err(str::to_owned), "{config}");
        }
    }
}

//! Fields that this runtime does not implement. They are refused by name: a container that silently
//! lacks a protection or a limit is worse than none.

use serde_json::Value;

/// Looks for what is not supported in a whole configuration; answers the first field found.
pub(crate) fn refuse_unsupported(config: &Value) -> Result<(), String> {
    for field in CONFIG {
        refuse(config, field)?;
    }
    refuse_in_process(config.get("process").unwrap_or(&Value::Null))
        .map_err(|field| format!("process.{field}"))
}

/// The same for the description of a process alone.
pub(crate) fn refuse_in_process(process: &Value) -> Result<(), String> {
    PROCESS.iter().try_for_each(|field| refuse(process, field))
}

fn refuse(json: &Value, field: &str) -> Result<(), String> {
    let pointer = format!("/{}", field.replace('.', "/"));
    match json.pointer(&pointer) {
        Some(value) if !is_empty(value) => Err(field.to_owned()),
        _ => Ok(()),
    }
}

/// Writers of configurations leave empty values where they mean nothing.
fn is_empty(value: &Value) -> bool {
    match value {
        Value::Null => true,
        Value::String(text) => text.is_empty(),
        Value::Array(items) => items.is_empty(),
        Value::Object(members) => members.is_empty(),
        Value::Number(number) => number.as_i64() == Some(0),
        Value::Bool(_) => false,
    }
}

const CONFIG: &[&str] = &[
    "vm",
    "windows",
    "solaris",
    "zos",
    "freebsd",
    "linux.netDevices",
    "linux.mountLabel",
    "linux.intelRdt",
    "linux.memoryPolicy",
    "linux.personality",
    "linux.seccomp.listenerPath",
    "linux.seccomp.listenerMetadata",
    // The kernel's limits on its own memory are gone since Linux 5.4 (v1) and were never in v2.
    "linux.resources.memory.kernel",
    "linux.resources.memory.kernelTCP",
    "linux.resources.rdma",
];

const PROCESS: &[&str] = &[
    "apparmorProfile",
    "selinuxLabel",
    "ioPriority",
    "scheduler",
    "execCPUAffinity",
    "commandLine",
    "user.username",
];

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn a_field_is_refused_by_name_unless_it_is_empty() {
        let cases = [
            (json!({"linux": {"intelRdt": {"closID": "x"}}}), Err("linux.intelRdt")),
            (json!({"linux": {"intelRdt": {}, "mountLabel": ""}, "vm": null}), Ok(())),
            (json!({"process": {"apparmorProfile": "p"}}), Err("process.apparmorProfile")),
            (json!({"process": {"user": {"username": "u"}}}), Err("process.user.username")),
            (json!({}), Ok(())),
        ];
        for (config, want) in cases {
            assert_eq!(refuse_unsupported(&config), want.map_err(str::to_owned), "{config}");
        }
    }
}

//! What writers of configurations leave in without meaning it, taken out before values become types.

use serde_json::{Map, Value};

/// The configuration without names that nobody knows and limits that are none.
pub(crate) fn normalised(mut config: Value) -> Value {
    if let Some(sets) = config.pointer_mut("/process/capabilities").and_then(Value::as_object_mut) {
        drop_unknown_capabilities(sets);
    }
    if let Some(resources) = config.pointer_mut("/linux/resources").and_then(Value::as_object_mut) {
        drop_empty_limits(resources);
    }
    config
}

/// OCI runtime-spec 1.1, config.md, "Linux Process": names that are not known warn and do not fail.
fn drop_unknown_capabilities(sets: &mut Map<String, Value>) {
    for (set, names) in sets {
        let Some(names) = names.as_array_mut() else { continue };
        names.retain(|name| {
            let is_known = |name| caps::to_canonical(name).parse::<caps::Capability>().is_ok();
            let known = name.as_str().is_none_or(is_known);
            if !known {
                log::warn!("capability ignored, not known here name={name} set={set}");
            }
            known
        });
    }
}

/// Limits whose zero means that there is none, as engines write it.
const ZERO_IS_NONE: &[(&str, &[&str])] = &[
    ("memory", &["limit", "reservation", "swap"]),
    ("cpu", &["shares", "quota", "period", "realtimeRuntime", "realtimePeriod", "burst", "idle"]),
    ("blockIO", &["weight", "leafWeight"]),
    ("network", &["classID"]),
];

/// A group of limits that is empty would need a controller which the machine may not have.
fn drop_empty_limits(resources: &mut Map<String, Value>) {
    for (group, zeros) in ZERO_IS_NONE {
        let Some(limits) = resources.get_mut(*group).and_then(Value::as_object_mut) else { continue };
        limits.retain(|name, value| !(zeros.contains(&name.as_str()) && value.as_i64() == Some(0)));
    }
    for limits in resources.values_mut().filter_map(Value::as_object_mut) {
        limits.retain(|_, value| !is_empty(value));
    }
    resources.retain(|_, limits| !is_empty(limits));
}

fn is_empty(value: &Value) -> bool {
    match value {
        Value::Null => true,
        Value::String(text) => text.is_empty(),
        Value::Array(items) => items.is_empty(),
        Value::Object(members) => members.is_empty(),
        Value::Bool(_) | Value::Number(_) => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn limits_that_are_none_need_no_controller() {
        let resources = json!({
            "memory": {"limit": 0, "swap": -1, "swappiness": 0}, "cpu": {"shares": 0, "cpus": ""}, "network": {},
            "blockIO": {"weight": 0, "weightDevice": []}, "hugepageLimits": [], "pids": {"limit": 0},
        });
        let out = normalised(json!({"linux": {"resources": resources}}));
        let want = json!({"memory": {"swap": -1, "swappiness": 0}, "pids": {"limit": 0}});
        assert_eq!(out["linux"]["resources"], want);
    }

    #[test]
    fn unknown_capabilities_are_left_out_and_nothing_else_is() {
        let sets = json!({"bounding": ["CAP_CHOWN", "CAP_TOMORROW", 7], "effective": ["chown"]});
        let out = normalised(json!({"process": {"capabilities": sets}}));
        let want = json!({"bounding": ["CAP_CHOWN", 7], "effective": ["chown"]});
        assert_eq!(out["process"]["capabilities"], want);
    }
}

//! The node and its host.

use super::ENGINE;
use crate::node::{DaemonState, Info, Status, Version};
use edgelet_types::Platform;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value, json};

/// Which program the daemon is.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct VersionInfo {
    /// Semantic version.
    pub version: String,
    /// RFC 3339.
    pub build_time: String,
    /// The commit.
    pub git_commit: String,
    /// The engine in use.
    pub allowed_container_engine: String,
    /// All engines that this program can use.
    #[serde(default)]
    pub allowed_engines: Vec<String>,
}

impl From<Version> for VersionInfo {
    fn from(version: Version) -> Self {
        Self {
            version: version.version,
            build_time: version.build_time,
            git_commit: version.git_commit,
            allowed_container_engine: ENGINE.to_owned(),
            allowed_engines: vec![ENGINE.to_owned()],
        }
    }
}

/// `GET /health/…`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Health {
    /// `ok`, `ready` or `not_ready`.
    pub status: String,
    /// Of `/health/live`: always `listening`, or nobody could have asked.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub local_api_phase: Option<String>,
    /// Why it is not ready.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
    /// The same for people.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub detail: Option<String>,
}

/// The status object. What was not measured has no key. Older scalars are strings, as they always
/// were; stack figures and lists are typed.
pub fn status(status: &Status, running_microservices: usize) -> Map<String, Value> {
    let mut object = Object::default();
    let host = &status.host;
    object.text("edgeletDaemon", daemon_word(status.daemon));
    object.text("warningMessage", status.warning.as_deref().unwrap_or_default());
    object.text("systemTime", status.time);
    object.text("uptimeSeconds", status.uptime_ms / 1000);
    object.text("runningMicroservices", running_microservices);
    object.text("availableNetworkInterfaces", host.interfaces.join(","));
    object.value("availableRuntimes", json!(["edgelet-oci"]));
    object.value("runtimeClasses", json!([]));
    object.value("availableCdiDevices", json!([]));

    let cores = sum(status.agent.cpu_cores, status.runtime.cpu_cores, |a, b| a + b);
    let memory = sum(status.agent.memory_bytes, status.runtime.memory_bytes, u64::saturating_add);
    object.measured("agentCpu", status.agent.cpu_cores);
    object.measured("runtimeCpu", status.runtime.cpu_cores);
    object.measured("edgeletStackCpu", cores);
    object.measured("agentMemory", status.agent.memory_bytes);
    object.measured("runtimeMemory", status.runtime.memory_bytes);
    object.measured("edgeletStackMemory", memory);
    object.value("runtimeAvailable", json!(status.engine_ready));
    object.value("runtimeDegraded", json!(!status.engine_ready));

    object.maybe_text("cpuUsage", cores.map(|cores| format!("{:.2}", cores * 100.0)));
    object.maybe_text("memoryUsage", memory.map(|bytes| decimals(bytes, 20)));
    object.maybe_text("diskUsage", status.data_bytes.map(|bytes| decimals(bytes, 30)));
    object.maybe_text("systemCpus", host.cpus);
    object.maybe_text("systemTotalCpu", host.cpu_busy_percent.map(|percent| format!("{percent:.2}")));
    object.maybe_text("systemTotalMemory", host.memory_total_bytes);
    object.maybe_text("systemAvailableMemory", host.memory_available_bytes);
    object.maybe_text("systemTotalDisk", host.disk_total_bytes);
    object.maybe_text("systemAvailableDisk", host.disk_available_bytes);
    object.maybe_text("systemOs", host.os.as_ref());
    object.maybe_text("systemOsVersion", host.os_version.as_ref());
    object.maybe_text("systemKernelVersion", host.kernel.as_ref());

    object.text("runtime.engine", ENGINE);
    object.text("runtime.engineReady", status.engine_ready);
    object.text("runtime.shutdownPolicy", "leave-running");
    object.maybe_text("cgroupMode", status.cgroup_mode.as_ref());
    object.0
}

/// The info object: the configuration report, one key per line, all strings.
pub fn info(info: &Info) -> Map<String, Value> {
    let config = &info.config;
    let mut object = Object::default();
    object.text("iofogUuid", "not provisioned");
    object.text("containerEngine", ENGINE);
    object.text("diskDirectory", info.layout.data().display());
    object.text("logDirectory", info.layout.container_logs().display());
    object.text("logFilesLevel", format!("{:?}", config.log_level).to_uppercase());
    object.text("fogType", Platform::host().architecture);
    object.text("timeZone", &config.time_zone);
    object.text("namespace", &config.namespace);
    object.text("currentProfile", &config.profile);
    object.text("diskReserve", super::human_bytes(config.disk_reserve_bytes));
    object.text("pullParallel", config.pull_parallel);
    object.0
}

fn daemon_word(state: DaemonState) -> &'static str {
    match state {
        DaemonState::Starting => "STARTING",
        DaemonState::Running => "RUNNING",
        DaemonState::Warning => "WARNING",
        DaemonState::Stopping => "STOPPING",
    }
}

/// Both, or the one that is known.
fn sum<T>(a: Option<T>, b: Option<T>, add: impl FnOnce(T, T) -> T) -> Option<T> {
    match (a, b) {
        (Some(a), Some(b)) => Some(add(a, b)),
        (one, other) => one.or(other),
    }
}

/// `bytes` in units of `2^shift` with two decimals.
fn decimals(bytes: u64, shift: u32) -> String {
    let hundredths = (u128::from(bytes) * 100) >> shift;
    format!("{}.{:02}", hundredths / 100, hundredths % 100)
}

/// A JSON object in the making.
#[derive(Default)]
struct Object(Map<String, Value>);

impl Object {
    fn value(&mut self, key: &str, value: Value) {
        self.0.insert(key.to_owned(), value);
    }

    fn text(&mut self, key: &str, value: impl ToString) {
        self.value(key, Value::String(value.to_string()));
    }

    fn maybe_text(&mut self, key: &str, value: Option<impl ToString>) {
        if let Some(value) = value {
            self.text(key, value);
        }
    }

    fn measured(&mut self, key: &str, value: Option<impl Into<Value>>) {
        if let Some(value) = value {
            self.value(key, value.into());
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::node::{Host, Usage};
    use edgelet_types::UnixMillis;

    #[test]
    fn what_was_not_measured_has_no_key() {
        let bare = Status {
            daemon: DaemonState::Running,
            warning: None,
            time: UnixMillis(0),
            uptime_ms: 1500,
            engine_ready: true,
            cgroup_mode: None,
            agent: Usage { cpu_cores: Some(0.5), memory_bytes: Some(3 << 19) },
            runtime: Usage::default(),
            data_bytes: None,
            host: Host::default(),
        };
        let object = status(&bare, 2);
        assert_eq!(object["edgeletDaemon"], "RUNNING");
        assert_eq!(object["runningMicroservices"], "2");
        assert_eq!(object["edgeletStackMemory"], 3 << 19);
        assert_eq!(
            (object["memoryUsage"].as_str(), object["cpuUsage"].as_str()),
            (Some("1.50"), Some("50.00"))
        );
        for absent in ["diskUsage", "systemCpus", "runtimeCpu", "cgroupMode"] {
            assert!(!object.contains_key(absent), "{absent}");
        }
    }
}

//! The manifest as written: names and types, no rules. Fields that this version does not do are read as
//! far as needed to refuse them by name.

use serde::Deserialize;
use serde::de::IgnoredAny;
use std::collections::BTreeMap;

#[derive(Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub(super) struct File {
    pub(super) api_version: String,
    pub(super) kind: String,
    pub(super) metadata: Metadata,
    pub(super) spec: Spec,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub(super) struct Metadata {
    pub(super) name: String,
    pub(super) namespace: Option<String>,
    #[serde(default)]
    pub(super) labels: BTreeMap<String, String>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub(super) struct Spec {
    pub(super) image: String,
    pub(super) registry: Option<i64>,
    pub(super) schedule: Option<i64>,
    pub(super) config: Option<BTreeMap<String, IgnoredAny>>,
    pub(super) models: Option<IgnoredAny>,
    pub(super) knowledge: Option<IgnoredAny>,
    #[serde(default)]
    pub(super) container: Container,
}

#[derive(Deserialize, Default)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
pub(super) struct Container {
    pub(super) host_network_mode: bool,
    pub(super) is_privileged: bool,
    pub(super) read_only_root_filesystem: bool,
    pub(super) run_as_user: Option<String>,
    pub(super) run_as_group: Option<String>,
    pub(super) runtime: Option<String>,
    pub(super) platform: Option<String>,
    pub(super) ipc_mode: Option<String>,
    pub(super) pid_mode: Option<String>,
    pub(super) cap_add: Vec<String>,
    pub(super) cap_drop: Vec<String>,
    pub(super) cdi_devices: Vec<IgnoredAny>,
    pub(super) env: Vec<Variable>,
    pub(super) extra_hosts: Vec<IgnoredAny>,
    pub(super) ports: Vec<Port>,
    pub(super) volumes: Vec<Volume>,
    pub(super) tmpfs: Vec<Tmpfs>,
    pub(super) sysctls: BTreeMap<String, String>,
    pub(super) ulimits: BTreeMap<String, Ulimit>,
    pub(super) devices: Vec<Device>,
    pub(super) entrypoint: Vec<String>,
    pub(super) commands: Vec<String>,
    pub(super) working_dir: Option<String>,
    pub(super) cpu_set_cpus: Option<String>,
    pub(super) cpus: Option<f64>,
    pub(super) memory_limit: Option<i64>,
    pub(super) memory_reservation: Option<i64>,
    pub(super) memory_swap: Option<i64>,
    pub(super) shm_size: Option<i64>,
    pub(super) annotations: BTreeMap<String, String>,
    pub(super) health_check: Option<IgnoredAny>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Variable {
    pub(super) key: String,
    pub(super) value: String,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Port {
    pub(super) internal: u16,
    pub(super) external: u16,
    pub(super) protocol: Option<String>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub(super) struct Volume {
    pub(super) host_destination: String,
    pub(super) container_destination: String,
    pub(super) access_mode: Option<String>,
    #[serde(rename = "type")]
    pub(super) kind: Option<String>,
    pub(super) scope: Option<String>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub(super) struct Tmpfs {
    pub(super) container_path: String,
    pub(super) size: Option<i64>,
    pub(super) mode: Option<String>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Ulimit {
    pub(super) soft: i64,
    pub(super) hard: i64,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub(super) struct Device {
    pub(super) host_path: String,
    pub(super) container_path: String,
    pub(super) permissions: Option<String>,
}

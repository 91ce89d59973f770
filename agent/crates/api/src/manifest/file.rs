//! The manifest as written: names and types, no rules. Fields that this version does not do are read as
//! far as needed to refuse them by name.

use super::ManifestError;
use super::fields::{Anything, Fields, IS_THERE, Read, manifest_fields};
use super::yaml::Node;
use std::collections::BTreeMap;

manifest_fields! {
    struct Metadata {
        name: String = "name",
        namespace: Option<String> = "namespace",
        labels: BTreeMap<String, String> = "labels",
    }

    struct Spec {
        image: String = "image",
        registry: Option<i64> = "registry",
        schedule: Option<i64> = "schedule",
        config: Option<BTreeMap<String, Anything>> = "config",
        models: Option<Anything> = "models",
        knowledge: Option<Anything> = "knowledge",
        container: Option<Container> = "container",
    }

    #[derive(Default)]
    struct Container {
        host_network_mode: bool = "hostNetworkMode",
        is_privileged: bool = "isPrivileged",
        read_only_root_filesystem: bool = "readOnlyRootFilesystem",
        run_as_user: Option<String> = "runAsUser",
        run_as_group: Option<String> = "runAsGroup",
        runtime: Option<String> = "runtime",
        platform: Option<String> = "platform",
        ipc_mode: Option<String> = "ipcMode",
        pid_mode: Option<String> = "pidMode",
        userns: Option<String> = "userns",
        cap_add: Vec<String> = "capAdd",
        cap_drop: Vec<String> = "capDrop",
        cdi_devices: Vec<Anything> = "cdiDevices",
        env: Vec<Variable> = "env",
        extra_hosts: Vec<Anything> = "extraHosts",
        ports: Vec<Port> = "ports",
        volumes: Vec<Volume> = "volumes",
        tmpfs: Vec<Tmpfs> = "tmpfs",
        sysctls: BTreeMap<String, String> = "sysctls",
        ulimits: BTreeMap<String, Ulimit> = "ulimits",
        devices: Vec<Device> = "devices",
        entrypoint: Vec<String> = "entrypoint",
        commands: Vec<String> = "commands",
        working_dir: Option<String> = "workingDir",
        cpu_set_cpus: Option<String> = "cpuSetCpus",
        cpus: Option<f64> = "cpus",
        memory_limit: Option<i64> = "memoryLimit",
        memory_reservation: Option<i64> = "memoryReservation",
        memory_swap: Option<i64> = "memorySwap",
        shm_size: Option<i64> = "shmSize",
        annotations: BTreeMap<String, String> = "annotations",
        health_check: Option<Anything> = "healthCheck",
    }

    struct Variable {
        key: String = "key",
        value: String = "value",
    }

    struct Port {
        internal: u16 = "internal",
        external: u16 = "external",
        protocol: Option<String> = "protocol",
    }

    struct Volume {
        host_destination: String = "hostDestination",
        container_destination: String = "containerDestination",
        access_mode: Option<String> = "accessMode",
        kind: Option<String> = "type",
        scope: Option<String> = "scope",
    }

    struct Tmpfs {
        container_path: String = "containerPath",
        size: Option<i64> = "size",
        mode: Option<String> = "mode",
    }

    struct Ulimit {
        soft: i64 = "soft",
        hard: i64 = "hard",
    }

    struct Device {
        host_path: String = "hostPath",
        container_path: String = "containerPath",
        permissions: Option<String> = "permissions",
    }
}

use super::*;
use edgelet_types::workload::{Network, Ulimit};

/// A manifest whose `spec.container` is these lines.
fn with(container: &str) -> Result<Manifest, ManifestError> {
    let lines: String = container.lines().map(|line| format!("    {line}\n")).collect();
    parse(&format!(
        "apiVersion: {API_VERSION}\nkind: {KIND}\nmetadata: {{name: web}}\nspec:\n  image: busybox\n  container:\n{lines}"
    ))
}

#[test]
fn the_shortest_manifest_runs_the_image_as_its_author_meant() {
    let text =
        format!("apiVersion: {API_VERSION}\nkind: {KIND}\nmetadata:\n  name: web\nspec:\n  image: busybox\n");
    let manifest = parse(&text).expect("parses");
    assert_eq!(manifest.name.as_str(), "web");
    assert_eq!(manifest.spec, WorkloadSpec::of(ImageRef::parse("busybox").expect("a reference")));
    assert_eq!(manifest.warnings, Vec::<String>::new());
}

#[test]
fn every_supported_field_arrives() {
    let manifest = with(
        r#"hostNetworkMode: true
isPrivileged: true
readOnlyRootFilesystem: true
runAsUser: 1000
runAsGroup: "50"
platform: linux/arm64
ipcMode: private
pidMode: host
capAdd: [net_admin]
capDrop: [ALL]
env:
  - {key: PORT, value: 8080}
  - {key: EMPTY, value: ""}
  - {key: VERSION, value: 1.10}
ports:
  - {internal: 80, external: 80}
volumes:
  - {hostDestination: /srv, containerDestination: /data//x/., accessMode: ro, type: BIND}
tmpfs:
  - {containerPath: /tmp, size: 16, mode: "0700"}
sysctls: {kernel.shm_rmid_forced: 1}
ulimits: {nofile: {soft: 1024, hard: -1}}
devices:
  - {hostPath: /dev/null, containerPath: /dev/zilch, permissions: rw}
entrypoint: [/bin/sh]
commands: ["-c", "echo hi"]
workingDir: /srv
cpuSetCpus: 0-1,3
cpus: 0.5
memoryLimit: 64
memoryReservation: 32
memorySwap: 128
shmSize: 8
annotations: {a: b}"#,
    )
    .expect("parses");
    let spec = manifest.spec;
    assert_eq!(spec.network, Network::Host);
    assert!(spec.privileged && spec.read_only_root && spec.host_pid && !spec.host_ipc);
    assert_eq!((spec.user.as_deref(), spec.group.as_deref()), (Some("1000"), Some("50")));
    assert_eq!(spec.platform.map(|p| p.to_string()).as_deref(), Some("linux/arm64"));
    assert_eq!((spec.cap_add, spec.cap_drop), (vec!["CAP_NET_ADMIN".into()], vec!["ALL".into()]));
    assert_eq!(
        spec.env,
        [("PORT", "8080"), ("EMPTY", ""), ("VERSION", "1.10")].map(|(key, value)| (key.into(), value.into()))
    );
    assert_eq!((spec.binds[0].container.as_str(), spec.binds[0].read_only), ("/data/x", true));
    assert_eq!((spec.tmpfs[0].bytes, spec.tmpfs[0].mode), (Some(16 << 20), Some(0o700)));
    assert_eq!(spec.sysctls["kernel.shm_rmid_forced"], "1");
    assert_eq!(spec.ulimits["nofile"], Ulimit { soft: Some(1024), hard: None });
    assert_eq!((spec.devices[0].container.as_str(), spec.devices[0].access.as_str()), ("/dev/zilch", "rw"));
    assert_eq!((spec.entrypoint.len(), spec.command.len()), (1, 2));
    assert_eq!(spec.working_dir.as_deref(), Some("/srv"));
    assert_eq!(spec.resources.cpuset.as_deref(), Some("0-1,3"));
    assert_eq!(spec.resources.cpu_millis, Some(500));
    assert_eq!(spec.resources.memory_bytes, Some(64 << 20));
    assert_eq!(spec.resources.memory_reservation_bytes, Some(32 << 20));
    assert_eq!(spec.resources.memory_swap_bytes, Some(128 << 20));
    assert_eq!(spec.shm_bytes, Some(8 << 20));
    assert_eq!(spec.annotations["a"], "b");
}

#[test]
fn users_of_its_own_are_had_for_the_asking() {
    let own_users = |text: &str| with(text).map(|manifest| manifest.spec.own_users).ok();
    for (text, want) in
        [("userns: auto", true), ("userns: host", false), ("readOnlyRootFilesystem: true", false)]
    {
        assert_eq!(own_users(text), Some(want), "{text}");
    }
}

#[test]
fn a_broken_rule_is_named_with_its_field() {
    let cases = [
        ("nonsense: 1", "spec.container.nonsense"),
        ("isPrivileged: maybe", "spec.container.isPrivileged"),
        ("env: [{key: A}]", "spec.container.env[0]"),
        ("env: [{kee: A, value: b}]", "spec.container.env[0].kee"),
        ("env: {A: b}", "spec.container.env"),
        ("capAdd: [~]", "spec.container.capAdd[0]"),
        ("annotations: {a: [b]}", "spec.container.annotations.a"),
        ("ports: [{internal: 70000, external: 80}]", "spec.container.ports[0].internal"),
        ("nonsense: 1\nisPrivileged: maybe", "spec.container.isPrivileged"),
        ("env: [{key: EDGELET_X, value: y}]", "spec.container.env[0].key"),
        ("env: [{key: A=B, value: y}]", "spec.container.env[0].key"),
        ("runAsUser: a:b\nrunAsGroup: c", "spec.container.runAsUser"),
        ("userns: auto\nisPrivileged: true", "spec.container.userns"),
        ("userns: own", "spec.container.userns"),
        ("platform: arm64", "spec.container.platform"),
        ("capAdd: [CAP_FLY]", "spec.container.capAdd[0]"),
        (
            "volumes: [{hostDestination: srv, containerDestination: /x}]",
            "spec.container.volumes[0].hostDestination",
        ),
        (
            "volumes: [{hostDestination: /srv/../etc, containerDestination: /x}]",
            "spec.container.volumes[0].hostDestination",
        ),
        (
            "volumes: [{hostDestination: /srv, containerDestination: /.}]",
            "spec.container.volumes[0].containerDestination",
        ),
        (
            "volumes: [{hostDestination: /srv, containerDestination: /x, accessMode: rx}]",
            "spec.container.volumes[0].accessMode",
        ),
        (
            "volumes: [{hostDestination: /srv, containerDestination: /x, scope: shared}]",
            "spec.container.volumes[0].scope",
        ),
        ("tmpfs: [{containerPath: /x, size: 0}]", "spec.container.tmpfs[0].size"),
        ("tmpfs: [{containerPath: /x, mode: \"9\"}]", "spec.container.tmpfs[0].mode"),
        ("tmpfs: [{containerPath: /x}, {containerPath: /x/}]", "spec.container.tmpfs[1]"),
        ("sysctls: {kernel.panic: 1}", "spec.container.sysctls.kernel.panic"),
        (
            "hostNetworkMode: true\nsysctls: {net.ipv4.tcp_syncookies: 1}",
            "spec.container.sysctls.net.ipv4.tcp_syncookies",
        ),
        (
            "ipcMode: host\nsysctls: {kernel.shm_rmid_forced: 1}",
            "spec.container.sysctls.kernel.shm_rmid_forced",
        ),
        ("ulimits: {nofile: {soft: 2, hard: 1}}", "spec.container.ulimits.nofile"),
        ("ulimits: {nofile: {soft: -1, hard: 1}}", "spec.container.ulimits.nofile"),
        ("ulimits: {nofile: {soft: -2, hard: -1}}", "spec.container.ulimits.nofile"),
        ("ulimits: {files: {soft: 1, hard: 1}}", "spec.container.ulimits.files"),
        ("ulimits: {nofile: 1024}", "spec.container.ulimits.nofile"),
        ("devices: [{hostPath: /etc/passwd, containerPath: /dev/x}]", "spec.container.devices[0].hostPath"),
        (
            "devices: [{hostPath: /dev/x, containerPath: /dev/x, permissions: rx}]",
            "spec.container.devices[0].permissions",
        ),
        ("workingDir: srv", "spec.container.workingDir"),
        ("cpuSetCpus: 3-1", "spec.container.cpuSetCpus"),
        ("cpus: 0", "spec.container.cpus"),
        ("cpus: .nan", "spec.container.cpus"),
        ("memoryLimit: 0", "spec.container.memoryLimit"),
        ("memoryLimit: -5", "spec.container.memoryLimit"),
        ("memorySwap: 64", "spec.container.memorySwap"),
        ("memoryLimit: 64\nmemorySwap: 32", "spec.container.memorySwap"),
        ("hostNetworkMode: true\nports: [{internal: 80, external: 8080}]", "spec.container.ports[0]"),
    ];
    for (container, want) in cases {
        match with(container) {
            Err(ManifestError::Field { path, .. }) => assert_eq!(path, want, "{container}"),
            other => panic!("{container}: {other:?}"),
        }
    }
}

#[test]
fn what_this_version_does_not_do_is_refused_by_name() {
    let cases = [
        ("ports: [{internal: 80, external: 80}]", "spec.container.ports[0]"),
        (
            "volumes: [{hostDestination: v, containerDestination: /x, type: volume}]",
            "spec.container.volumes[0].type",
        ),
        (
            "volumes: [{hostDestination: v, containerDestination: /x, type: volumeMount}]",
            "spec.container.volumes[0].type",
        ),
        ("runtime: spin", "spec.container.runtime"),
        ("cdiDevices: [nvidia.com/gpu=0]", "spec.container.cdiDevices"),
        ("extraHosts: ['a:1.2.3.4']", "spec.container.extraHosts"),
        ("healthCheck: {test: [CMD, 'true']}", "spec.container.healthCheck"),
        ("ipcMode: container:x", "spec.container.ipcMode"),
        ("capAdd: [all]", "spec.container.capAdd"),
    ];
    for (container, want) in cases {
        match with(container) {
            Err(error @ ManifestError::NotSupported { .. }) => {
                assert!(error.to_string().contains(want), "{container}: {error}");
                assert_eq!(Fault::from(error).reason, Reason::NotSupported);
            }
            other => panic!("{container}: {other:?}"),
        }
    }
    for spec in ["registry: 4", "schedule: 3", "config: {a: b}", "models: {}", "knowledge: {}"] {
        let text = format!(
            "apiVersion: {API_VERSION}\nkind: {KIND}\nmetadata: {{name: web}}\nspec: {{image: busybox, {spec}}}"
        );
        assert!(matches!(parse(&text), Err(ManifestError::NotSupported { .. })), "{spec}");
    }
}

#[test]
fn the_frame_must_be_right() {
    let good =
        format!("apiVersion: {API_VERSION}\nkind: {KIND}\nmetadata: {{name: web}}\nspec: {{image: busybox}}");
    assert!(parse(&good).is_ok());
    let field = |text: &str| match parse(text) {
        Err(ManifestError::Field { path, .. }) => path,
        other => panic!("{text}: {other:?}"),
    };
    assert_eq!(field(&good.replace(API_VERSION, "v3")), "apiVersion");
    assert_eq!(field(&good.replace("web", "Web_1")), "metadata.name");
    assert_eq!(field(&good.replace("busybox", "Busy box")), "spec.image");
    assert_eq!(field(&good.replace("name: web", "name: web, namespace: A")), "metadata.namespace");
    for kind in ["Registry", "Model", "Knowledge", "RuntimeClass", "ControlPlane"] {
        let said = parse(&good.replace(KIND, kind).replace("image: busybox", "url: x"));
        assert!(
            matches!(&said, Err(ManifestError::NotSupported { path, .. }) if path.starts_with("kind: ")),
            "{kind}: {said:?}"
        );
    }
    assert_eq!(field(&good.replace(KIND, "Pod")), "kind");
    assert_eq!(field(&good.replace("metadata: {name: web}\n", "")), "metadata");
    for broken in ["", "[", "{", "\u{0}", "apiVersion: [", "- a\n- b", "a: &x [*x]", "\t"] {
        assert!(parse(broken).is_err(), "{broken:?}");
    }
    assert!(parse(&format!("{good}\n---\n{good}")).is_err(), "two documents");
    assert!(parse(&good.replace("kind:", "kind: x\nkind:")).is_err(), "a key twice");
}

#[test]
fn protected_labels_are_dropped_with_a_word() {
    let text = format!(
        "apiVersion: {API_VERSION}\nkind: {KIND}\nspec: {{image: busybox}}\nmetadata:\n  name: web\n  labels:\n    tier: front\n    Edgelet.iofog.org/role: router\n"
    );
    let manifest = parse(&text).expect("parses");
    assert_eq!(manifest.spec.labels.into_keys().collect::<Vec<_>>(), ["tier"]);
    assert_eq!(manifest.warnings.len(), 1);
}

#[test]
fn bombs_are_refused_within_the_budget() {
    let mut bomb = String::from("a0: &a0 [x, x, x, x, x, x, x, x, x]\n");
    for level in 1..12 {
        let alias = format!("*a{}", level - 1);
        bomb.push_str(&format!("a{level}: &a{level} [{}]\n", [alias.as_str(); 9].join(", ")));
    }
    assert!(parse(&bomb).is_err());
    assert!(parse(&"[".repeat(100_000)).is_err());
    assert!(matches!(parse(&" ".repeat((1 << 20) + 1)), Err(ManifestError::TooLarge { .. })));
}

#[test]
fn no_damaged_byte_makes_the_parser_panic() {
    let good = format!(
        "apiVersion: {API_VERSION}\nkind: {KIND}\nmetadata: {{name: web}}\nspec:\n  image: busybox\n  container:\n    cpus: 0.5\n    ulimits: {{nofile: {{soft: 1, hard: -1}}}}\n    tmpfs: [{{containerPath: /x, size: 1}}]\n    env: [{{key: A, value: &a \"b\"}}]\n"
    );
    assert!(parse(&good).is_ok());
    let mut refused = 0;
    for at in 0..good.len() {
        for damage in [b' ', b'\n', b'{', b'}', b'[', b'*', b'&', b'!', b'"', b':', b'-', b'9', 0] {
            let mut bytes = good.clone().into_bytes();
            bytes[at] = damage;
            let text = String::from_utf8(bytes).expect("ASCII");
            if let Err(error) = parse(&text) {
                assert!(!error.to_string().is_empty());
                refused += 1;
            }
        }
    }
    assert!(refused > good.len(), "{refused}");
}

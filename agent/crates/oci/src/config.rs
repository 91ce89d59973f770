//! `config.json`: read, checked and turned into what is to be done, before anything is touched.

use crate::error::CreateError;
use crate::hooks;
use crate::labels::Modules;
use crate::mount_options::root_propagation;
use crate::mounts::{self, MountPlan};
use crate::namespaces::Namespaces;
use crate::net_devices::NetDevices;
use crate::program::Program;
use crate::refuse;
use crate::schedule::Nature;
use crate::seccomp::Filter;
use crate::spec::{Linux, Resources, Spec};
use crate::sysctl;
use edgelet_sys::namespace::Kind;
use edgelet_types::limits;
use std::fs::File;
use std::io::Read;
use std::path::{Path, PathBuf};

/// A configuration that this runtime can carry out.
#[derive(Debug)]
pub(crate) struct Config {
    /// What was read; kept with the state, because later edits of the file have no effect.
    pub(crate) text: Vec<u8>,
    /// The same as types, without the Linux part.
    pub(crate) spec: Spec,
    /// The Linux part, empty when there is none.
    pub(crate) linux: Linux,
    /// The absolute path of the bundle.
    pub(crate) bundle: PathBuf,
    /// The absolute path of the root file system.
    pub(crate) root: PathBuf,
    pub(crate) namespaces: Namespaces,
    pub(crate) mounts: Vec<MountPlan>,
    pub(crate) program: Program,
    pub(crate) nature: Nature,
    pub(crate) net_devices: NetDevices,
    pub(crate) filter: Option<Filter>,
    pub(crate) limits: Option<Resources>,
}

impl Config {
    /// Reads `config.json` of a bundle.
    pub(crate) fn load(bundle: &Path) -> Result<Self, CreateError> {
        let step = |what: &Path| {
            let step = format!("open {}", what.display());
            |source| CreateError::Step { step, source }
        };
        let bundle = bundle.canonicalize().map_err(step(bundle))?;
        let path = bundle.join("config.json");
        let mut text = Vec::new();
        let file = File::open(&path).map_err(step(&path))?;
        file.take(limits::RUNTIME_SPEC_BYTES + 1).read_to_end(&mut text).map_err(step(&path))?;
        if text.len() as u64 > limits::RUNTIME_SPEC_BYTES {
            return Err(CreateError::Config(format!("larger than {} bytes", limits::RUNTIME_SPEC_BYTES)));
        }
        Self::parse(text, bundle)
    }

    /// Checks a configuration. `bundle` is absolute.
    pub(crate) fn parse(text: Vec<u8>, bundle: PathBuf) -> Result<Self, CreateError> {
        let mut spec: Spec = serde_json::from_slice(&text).map_err(invalid)?;
        refuse::refuse_unsupported(&spec).map_err(|field| CreateError::NotSupported { field })?;
        let minor = minor_version(&spec.oci_version)?;
        let root = spec.root.as_ref().ok_or_else(|| invalid("root is missing"))?;
        let root = bundle.join(root.path());
        let mut linux = spec.linux.take().unwrap_or_default();
        let namespaces = Namespaces::parse(&linux)?;
        sysctl::check(&linux, &namespaces)?;
        hooks::check(spec.hooks.as_ref()).map_err(invalid)?;
        if !namespaces.has(Kind::Uts) && (is_set(&spec.hostname) || is_set(&spec.domainname)) {
            return Err(invalid("hostname and domainname need a uts namespace of the container's own"));
        }
        if is_set(&linux.rootfs_propagation) {
            root_propagation(linux.rootfs_propagation.as_deref().unwrap_or_default())?;
        }
        check_without_mounts(&spec, &linux, &namespaces)?;
        let mounts = spec.mounts.iter().flatten().map(|mount| {
            let plan = MountPlan::parse(mount, &bundle)?;
            plan.check(&namespaces).map(|()| plan)
        });
        let net_devices = NetDevices::parse(&linux, &namespaces).map_err(invalid)?;
        let mut mounts = mounts.collect::<Result<Vec<_>, _>>()?;
        mounts::settle(&mut mounts)?;
        Ok(Self {
            namespaces,
            mounts,
            program: spec
                .process
                .as_ref()
                .map_or_else(|| Ok(Program::absent()), Program::parse)
                .map_err(invalid)?,
            net_devices,
            nature: Nature::parse(&linux).map_err(invalid)?,
            filter: linux.seccomp.as_ref().map(Filter::compile).transpose()?,
            limits: linux.resources.take().map(|limits| older_zero(limits, minor)),
            text,
            spec,
            linux,
            bundle,
            root,
        })
    }

    /// Leaves out the labels that the kernel does not know, and gives the file systems theirs.
    pub(crate) fn label(&mut self, modules: Modules) {
        self.program.labels.keep_known(modules);
        if let Some(label) = modules.mount_label(self.linux.mount_label.as_deref()) {
            self.mounts.iter_mut().for_each(|mount| mount.label(label));
        }
    }

    /// Whether the root is made read-only at the end.
    pub(crate) fn read_only(&self) -> bool {
        wants_read_only(&self.spec)
    }
}

/// What protects paths are mounts.
fn check_without_mounts(spec: &Spec, linux: &Linux, namespaces: &Namespaces) -> Result<(), CreateError> {
    let listed = |paths: &Option<Vec<String>>| paths.as_ref().is_some_and(|paths| !paths.is_empty());
    match wants_read_only(spec) || listed(&linux.masked_paths) || listed(&linux.readonly_paths) {
        true if !namespaces.has(Kind::Mount) => {
            Err(invalid("root.readonly, linux.maskedPaths and linux.readonlyPaths need a mount namespace"))
        }
        _ => Ok(()),
    }
}

fn wants_read_only(spec: &Spec) -> bool {
    spec.root.as_ref().and_then(|root| root.readonly()).unwrap_or(false)
}

fn is_set(text: &Option<String>) -> bool {
    text.as_ref().is_some_and(|text| !text.is_empty())
}

fn invalid(reason: impl std::fmt::Display) -> CreateError {
    CreateError::Config(reason.to_string())
}

/// A limit of no processes at all is one since version 1.3 of the specification. Before, writers left the
/// zero there for none.
fn older_zero(mut limits: Resources, minor: u32) -> Resources {
    limits.pids = limits.pids.filter(|pids| minor >= 3 || pids.limit != Some(0));
    limits
}

/// OCI runtime-spec 1.3, config.md, "Specification version": a runtime of 1.x takes every 1.y.
fn minor_version(version: &str) -> Result<u32, CreateError> {
    let numbers = version.split(['-', '+']).next().unwrap_or_default();
    let parts: Vec<_> = numbers.split('.').map(str::parse::<u32>).collect();
    match parts.as_slice() {
        [Ok(1), Ok(minor), Ok(_)] => Ok(*minor),
        _ if version.is_empty() => Err(invalid("ociVersion is missing")),
        _ => Err(invalid(format!("ociVersion {version:?}: must be 1.x.y"))),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::{Value, json};

    fn parse(change: impl FnOnce(&mut Value)) -> Result<Config, CreateError> {
        let mut json = json!({
            "ociVersion": "1.2.0",
            "root": {"path": "rootfs"},
            "process": {"cwd": "/", "args": ["sh"], "user": {"uid": 0, "gid": 0}},
            "linux": {"namespaces": [{"type": "mount"}]},
        });
        change(&mut json);
        Config::parse(json.to_string().into_bytes(), PathBuf::from("/bundle"))
    }

    #[test]
    fn every_version_one_is_taken() {
        for good in ["1.0.0", "1.3.0", "1.0.2-dev", "1.9.9-rc.1+x"] {
            assert!(parse(|json| json["ociVersion"] = good.into()).is_ok(), "{good}");
        }
        for bad in ["", "1", "1.0", "2.0.0", "0.9.0", "x.y.z", "1.0.0.0"] {
            assert!(parse(|json| json["ociVersion"] = bad.into()).is_err(), "{bad}");
        }
    }

    #[test]
    fn unknown_properties_are_ignored_and_invalid_values_are_not() {
        assert!(parse(|json| json["unheardOf"] = json!({"a": 1})).is_ok());
        assert!(parse(|json| json["process"]["capabilities"] = json!({"bounding": ["CAP_NEW"]})).is_ok());
        assert!(parse(|json| json["process"]["terminal"] = json!("yes")).is_err());
        assert!(parse(|json| json["linux"]["namespaces"] = json!([{"type": "magic"}])).is_err());
        assert!(parse(|json| json["process"]["args"] = json!([])).is_err());
    }

    #[test]
    fn a_property_that_is_given_twice_is_refused() {
        let text = br#"{"ociVersion": "1.2.0", "hostname": "a", "hostname": "b"}"#;
        let error = Config::parse(text.to_vec(), PathBuf::from("/bundle")).expect_err("twice");
        assert!(error.to_string().contains("duplicate field `hostname`"), "{error}");
    }
}

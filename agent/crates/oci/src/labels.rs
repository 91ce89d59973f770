//! Labels of security modules (OCI runtime-spec 1.3, config.md, "Linux Process"; config-linux.md, "Mount Label").
//!
//! On a machine without the module a label means nothing. It is left out with a warning, as other runtimes do: the
//! same bundle runs on machines with and without the module.

use crate::error::{During, SpawnError};
use crate::spec::Process;
use edgelet_sys::procfs::Procfs;
use nix::sys::statfs::{FsType, statfs};
use std::fs;

/// The labels of a program.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Labels {
    apparmor: Option<String>,
    selinux: Option<String>,
}

/// Which modules the kernel enforces.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Modules {
    apparmor: bool,
    selinux: bool,
}

impl Modules {
    /// Looks on the host.
    pub(crate) fn find() -> Self {
        const SELINUX_MAGIC: FsType = FsType(0xf97c_ff8c_u32 as _);
        let apparmor = fs::read_to_string("/sys/module/apparmor/parameters/enabled");
        let selinux = statfs("/sys/fs/selinux").is_ok_and(|found| found.filesystem_type() == SELINUX_MAGIC);
        Self { apparmor: apparmor.is_ok_and(|text| text.trim() == "Y"), selinux }
    }

    /// The label for the mounts of a container, if it means anything here.
    pub(crate) fn mount_label<'a>(&self, label: Option<&'a str>) -> Option<&'a str> {
        kept("linux.mountLabel", self.selinux, label.filter(|label| !label.is_empty()))
    }
}

impl Labels {
    pub(crate) fn parse(process: &Process) -> Result<Self, String> {
        let text = |field: &str, label: &Option<String>| match label.clone().filter(|label| !label.is_empty())
        {
            // The kernel reads a line; what follows would be another command to it.
            Some(label) if label.contains(['\0', '\n']) => {
                Err(format!("process.{field} {label:?} is not a label"))
            }
            label => Ok(label),
        };
        Ok(Self {
            apparmor: text("apparmorProfile", &process.apparmor_profile)?,
            selinux: text("selinuxLabel", &process.selinux_label)?,
        })
    }

    /// Leaves out what the kernel does not know.
    pub(crate) fn keep_known(&mut self, modules: Modules) {
        self.apparmor = kept("process.apparmorProfile", modules.apparmor, self.apparmor.take());
        self.selinux = kept("process.selinuxLabel", modules.selinux, self.selinux.take());
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.apparmor.is_none() && self.selinux.is_none()
    }

    /// Sets what the calling process gets with the program that it executes. The files are found below a procfs
    /// of ours: what is at `/proc` may be the container's.
    pub(crate) fn set(&self, procfs: &Procfs) -> Result<(), SpawnError> {
        let own = std::process::id();
        if let Some(profile) = &self.apparmor {
            let value = format!("exec {profile}");
            // A file of its own since Linux 5.8, which other modules do not answer at.
            let set = procfs.write(format!("{own}/attr/apparmor/exec"), &value);
            set.or_else(|_| procfs.write(format!("{own}/attr/exec"), &value))
                .during(format!("set process.apparmorProfile {profile}"))?;
        }
        if let Some(label) = &self.selinux {
            let set = procfs.write(format!("{own}/attr/exec"), label);
            set.during(format!("set process.selinuxLabel {label}"))?;
        }
        Ok(())
    }
}

fn kept<T>(field: &str, known: bool, label: Option<T>) -> Option<T> {
    if label.is_some() && !known {
        log::warn!("{field} left out: the kernel has no such module");
    }
    label.filter(|_| known)
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::{Value, json};

    fn parse(field: &str, label: Value) -> Result<Labels, String> {
        let process: Process =
            serde_json::from_value(json!({"user": {}, "cwd": "/", field: label})).expect("JSON");
        Labels::parse(&process)
    }

    #[test]
    fn a_label_is_one_line_and_an_empty_one_is_none() {
        assert_eq!(parse("apparmorProfile", json!("")), Ok(Labels::default()));
        assert!(parse("apparmorProfile", json!("a\nchangeprofile b")).is_err());
        assert!(parse("selinuxLabel", json!("a\u{0}")).is_err());
    }

    #[test]
    fn what_the_kernel_does_not_know_is_left_out() {
        let mut labels = parse("apparmorProfile", json!("p")).expect("a label");
        labels.selinux = Some("s".to_owned());
        labels.keep_known(Modules { apparmor: true, selinux: false });
        assert_eq!(labels, Labels { apparmor: Some("p".to_owned()), selinux: None });
        let none = Modules { apparmor: false, selinux: false };
        labels.keep_known(none);
        assert!(labels.is_empty());
        assert_eq!(none.mount_label(Some("l")), None);
        assert_eq!(Modules { selinux: true, ..none }.mount_label(Some("l")), Some("l"));
    }
}

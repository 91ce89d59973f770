//! Which capabilities a workload has.

use super::spec::BundleError;
use edgelet_oci::spec::Capabilities;
use edgelet_types::WorkloadSpec;
use std::collections::BTreeSet;

/// What a container has unless it says otherwise: the set that images are written for.
const DEFAULT: [&str; 14] = [
    "CAP_AUDIT_WRITE",
    "CAP_CHOWN",
    "CAP_DAC_OVERRIDE",
    "CAP_FOWNER",
    "CAP_FSETID",
    "CAP_KILL",
    "CAP_MKNOD",
    "CAP_NET_BIND_SERVICE",
    "CAP_NET_RAW",
    "CAP_SETFCAP",
    "CAP_SETGID",
    "CAP_SETPCAP",
    "CAP_SETUID",
    "CAP_SYS_CHROOT",
];

/// Every capability that exists (Linux 5.9 and later have no more than these).
const ALL: [&str; 41] = [
    "CAP_AUDIT_CONTROL",
    "CAP_AUDIT_READ",
    "CAP_AUDIT_WRITE",
    "CAP_BLOCK_SUSPEND",
    "CAP_BPF",
    "CAP_CHECKPOINT_RESTORE",
    "CAP_CHOWN",
    "CAP_DAC_OVERRIDE",
    "CAP_DAC_READ_SEARCH",
    "CAP_FOWNER",
    "CAP_FSETID",
    "CAP_IPC_LOCK",
    "CAP_IPC_OWNER",
    "CAP_KILL",
    "CAP_LEASE",
    "CAP_LINUX_IMMUTABLE",
    "CAP_MAC_ADMIN",
    "CAP_MAC_OVERRIDE",
    "CAP_MKNOD",
    "CAP_NET_ADMIN",
    "CAP_NET_BIND_SERVICE",
    "CAP_NET_BROADCAST",
    "CAP_NET_RAW",
    "CAP_PERFMON",
    "CAP_SETFCAP",
    "CAP_SETGID",
    "CAP_SETPCAP",
    "CAP_SETUID",
    "CAP_SYS_ADMIN",
    "CAP_SYS_BOOT",
    "CAP_SYS_CHROOT",
    "CAP_SYS_MODULE",
    "CAP_SYS_NICE",
    "CAP_SYS_PACCT",
    "CAP_SYS_PTRACE",
    "CAP_SYS_RAWIO",
    "CAP_SYS_RESOURCE",
    "CAP_SYS_TIME",
    "CAP_SYS_TTY_CONFIG",
    "CAP_SYSLOG",
    "CAP_WAKE_ALARM",
];

/// The set for a workload, sorted. Names may stand with or without `CAP_`, in any case; `ALL` means all.
/// Dropping goes first, so that `drop: [ALL], add: [CHOWN]` leaves one.
pub fn of(workload: &WorkloadSpec) -> Result<BTreeSet<&'static str>, BundleError> {
    let mut set: BTreeSet<&str> = match workload.privileged {
        true => ALL.into(),
        false => DEFAULT.into(),
    };
    for name in &workload.cap_drop {
        for capability in named(name)? {
            set.remove(capability);
        }
    }
    for name in &workload.cap_add {
        set.extend(named(name)?);
    }
    Ok(set)
}

/// The same set in the runtime's words.
pub fn typed(set: &BTreeSet<&'static str>) -> Capabilities {
    let bare = set.iter().filter_map(|name| name.strip_prefix("CAP_"));
    bare.filter_map(|name| name.parse().ok()).collect()
}

fn named(name: &str) -> Result<Vec<&'static str>, BundleError> {
    let upper = name.to_ascii_uppercase();
    let bare = upper.strip_prefix("CAP_").unwrap_or(&upper);
    if bare == "ALL" {
        return Ok(ALL.to_vec());
    }
    ALL.into_iter()
        .find(|known| known.strip_prefix("CAP_") == Some(bare))
        .map(|known| vec![known])
        .ok_or_else(|| BundleError::Capability(name.to_owned()))
}

#[cfg(test)]
mod tests {
    use super::*;
    use edgelet_types::ImageRef;

    fn set(drop: &[&str], add: &[&str]) -> Result<BTreeSet<&'static str>, BundleError> {
        let mut spec = WorkloadSpec::of(ImageRef::parse("x").expect("a reference"));
        spec.cap_drop = drop.iter().map(|s| (*s).to_owned()).collect();
        spec.cap_add = add.iter().map(|s| (*s).to_owned()).collect();
        of(&spec)
    }

    #[test]
    fn names_are_taken_with_and_without_prefix() {
        assert_eq!(set(&["ALL"], &["CAP_NET_ADMIN", "syslog"]), Ok(["CAP_NET_ADMIN", "CAP_SYSLOG"].into()));
        assert_eq!(set(&[], &[]), Ok(DEFAULT.into()));
        assert_eq!(set(&[], &["all"]).map(|set| set.len()), Ok(41));
    }

    #[test]
    fn the_runtime_knows_every_one() {
        assert_eq!(typed(&ALL.into()).len(), ALL.len());
    }

    #[test]
    fn a_name_that_does_not_exist_is_refused() {
        assert_eq!(set(&[], &["CAP_NONE"]), Err(BundleError::Capability("CAP_NONE".to_owned())));
    }
}

//! Who a program is: its user, its groups and its capabilities (capabilities(7)).

use crate::error::{During, SpawnError};
use crate::spec::CapabilityNames;
use caps::{CapSet, Capability, CapsHashSet};
use nix::errno::Errno;
use nix::unistd::{Gid, Uid};
use std::collections::{BTreeSet, HashSet};
use std::io;

/// User, groups and capabilities. No id is the special value that means "leave as it is".
#[derive(Debug, Clone, Default)]
pub(crate) struct Identity {
    pub(crate) uid: u32,
    pub(crate) gid: u32,
    /// Besides `gid`; the caller's own groups are never kept.
    pub(crate) groups: Vec<u32>,
    pub(crate) capabilities: CapabilitySets,
}

/// The five sets of a process.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct CapabilitySets {
    pub(crate) bounding: CapsHashSet,
    pub(crate) effective: CapsHashSet,
    pub(crate) permitted: CapsHashSet,
    /// Empty unless asked for by name: what is in it comes back with programs that have file
    /// capabilities (CVE-2022-29162).
    pub(crate) inheritable: CapsHashSet,
    pub(crate) ambient: CapsHashSet,
}

impl CapabilitySets {
    /// Absent means none at all.
    pub(crate) fn parse(sets: Option<&CapabilityNames>) -> Self {
        let Some(sets) = sets else { return Self::default() };
        Self {
            bounding: known("bounding", &sets.bounding),
            effective: known("effective", &sets.effective),
            permitted: known("permitted", &sets.permitted),
            inheritable: known("inheritable", &sets.inheritable),
            ambient: known("ambient", &sets.ambient),
        }
    }
}

/// OCI runtime-spec 1.1, config.md, "Linux Process": names that are not known warn and do not fail.
fn known(set: &str, names: &Option<Vec<String>>) -> CapsHashSet {
    let (known, unknown): (BTreeSet<_>, BTreeSet<_>) =
        names.iter().flatten().map(String::as_str).partition(|name| named(name).is_some());
    if !unknown.is_empty() {
        let names = unknown.into_iter().collect::<Vec<_>>().join(" ");
        log::warn!("ignoring unknown or unavailable capabilities: [{names}] set={set}");
    }
    known.into_iter().filter_map(named).collect()
}

/// A capability by its name, in any case, with or without `CAP_`.
pub(crate) fn named(name: &str) -> Option<Capability> {
    caps::to_canonical(name).parse().ok()
}

impl Identity {
    /// Becomes this identity; there is no way back. `before_capabilities` runs while the old
    /// capabilities are still in force under the new user id.
    ///
    /// The bounding set goes first, because narrowing it needs a capability, and the ambient set last,
    /// because it must be within the others. What cannot be granted is left out with a warning
    /// (OCI runtime-spec 1.1, config.md, "Linux Process").
    pub(crate) fn assume(
        &self,
        before_capabilities: impl FnOnce() -> Result<(), SpawnError>,
    ) -> Result<(), SpawnError> {
        let wanted = &self.capabilities;
        narrow_bounding(&wanted.bounding).during("narrow bounding capabilities")?;
        nix::sys::prctl::set_keepcaps(true).during("keep capabilities")?;
        self.switch_user()?;
        let available =
            caps::read(None, CapSet::Permitted).map_err(io::Error::other).during("read capabilities")?;
        // Leaving root emptied the effective set.
        apply(CapSet::Effective, &available)?;
        before_capabilities()?;

        let permitted = granted("permitted", &wanted.permitted, &available);
        let effective = granted("effective", &wanted.effective, &permitted);
        // The kernel takes none into this set that could not be gained.
        let inheritable = granted("inheritable", &wanted.inheritable, &(&permitted & &wanted.bounding));
        let ambient = granted("ambient", &wanted.ambient, &(&permitted & &inheritable));
        caps::clear(None, CapSet::Ambient).map_err(io::Error::other).during("clear ambient capabilities")?;
        apply(CapSet::Effective, &effective)?;
        apply(CapSet::Permitted, &permitted)?;
        apply(CapSet::Inheritable, &inheritable)?;
        for capability in ambient {
            caps::raise(None, CapSet::Ambient, capability)
                .map_err(io::Error::other)
                .during(format!("raise ambient {capability}"))?;
        }
        nix::sys::prctl::set_keepcaps(false).during("keep capabilities")
    }

    fn switch_user(&self) -> Result<(), SpawnError> {
        self.set_groups().during(format!("set groups {:?}", self.groups))?;
        let gid = Gid::from_raw(self.gid);
        nix::unistd::setresgid(gid, gid, gid).during(format!("set group id {}", self.gid))?;
        let uid = Uid::from_raw(self.uid);
        nix::unistd::setresuid(uid, uid, uid).during(format!("set user id {}", self.uid))?;
        // A change of user id resets this flag to what the machine has as default.
        nix::sys::prctl::set_dumpable(false).during("hide memory")
    }

    /// Where somebody other than root has mapped the own ids, groups can neither be left nor joined.
    fn set_groups(&self) -> io::Result<()> {
        let groups: Vec<Gid> = self.groups.iter().copied().map(Gid::from_raw).collect();
        match nix::unistd::setgroups(&groups) {
            Err(Errno::EPERM)
                if groups.is_empty()
                    && caps::has_cap(None, CapSet::Effective, Capability::CAP_SETGID).unwrap_or(false) =>
            {
                Ok(())
            }
            other => Ok(other?),
        }
    }
}

fn narrow_bounding(wanted: &CapsHashSet) -> io::Result<()> {
    let has = |capability| caps::has_cap(None, CapSet::Bounding, capability);
    let mut present = CapsHashSet::new();
    for capability in caps::all() {
        if wanted.contains(&capability) {
            // Of those that the kernel does not know it says that they are not there.
            present.extend(has(capability).unwrap_or(false).then_some(capability));
        } else if caps::drop(None, CapSet::Bounding, capability).is_err() && has(capability).unwrap_or(false)
        {
            return Err(io::Error::other(format!("{capability} cannot be dropped")));
        }
    }
    granted("bounding", wanted, &present);
    Ok(())
}

fn granted(name: &str, wanted: &CapsHashSet, available: &CapsHashSet) -> HashSet<Capability> {
    let refused: BTreeSet<String> = wanted.difference(available).map(ToString::to_string).collect();
    if !refused.is_empty() {
        let names = refused.into_iter().collect::<Vec<_>>().join(" ");
        // Builders ask for ambient ones without the inheritable ones that they take, for each step, and mean neither.
        let level = if name == "ambient" { log::Level::Debug } else { log::Level::Warn };
        log::log!(level, "ignoring unknown or unavailable capabilities: [{names}] set={name}");
    }
    wanted & available
}

fn apply(set: CapSet, value: &CapsHashSet) -> Result<(), SpawnError> {
    caps::set(None, set, value).map_err(io::Error::other).during(format!("set {set:?} capabilities"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn unknown_capabilities_are_left_out_and_nothing_else_is() {
        let names = |names: &[&str]| Some(names.iter().map(|name| (*name).to_owned()).collect());
        let sets = CapabilitySets::parse(Some(&CapabilityNames {
            bounding: names(&["CAP_CHOWN", "CAP_TOMORROW"]),
            effective: names(&["chown", "CAP_CHOWN"]),
            ..CapabilityNames::default()
        }));
        let chown = HashSet::from([Capability::CAP_CHOWN]);
        let want = CapabilitySets { bounding: chown.clone(), effective: chown, ..CapabilitySets::default() };
        assert_eq!(sets, want);
        assert_eq!(CapabilitySets::parse(None), CapabilitySets::default());
    }
}

//! Which namespaces a container gets, and how a process comes into them.
//!
//! Namespaces that exist are joined by the calling process just before it clones, and left again right
//! after: the child inherits them. That needs no further process for the kinds that only a child can
//! enter (process ids, time), and it joins with the caller's rights before the child loses them to a
//! new user namespace. Two kinds cannot work that way: what is seen of the file system cannot be left
//! again, and new namespaces must belong to a user namespace that is joined.

use crate::error::{CreateError, During, SpawnError};
use crate::spec::Linux;
use crate::users::Maps;
use edgelet_sys::namespace::{self, Kind};
use edgelet_sys::procfs::Procfs;
use oci_spec::runtime::LinuxNamespaceType;
use std::os::fd::{AsFd, AsRawFd, OwnedFd};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

/// The namespaces of a container; a kind that is not here is the caller's own.
#[derive(Debug, Default)]
pub(crate) struct Namespaces {
    /// Kinds that are made.
    new: Vec<Kind>,
    /// Kinds that exist, by path.
    joined: Vec<(Kind, PathBuf)>,
    maps: Maps,
    /// What goes into `timens_offsets`.
    time_offsets: String,
}

impl Namespaces {
    pub(crate) fn parse(linux: &Linux) -> Result<Self, CreateError> {
        let mut namespaces = Self::default();
        for wanted in linux.namespaces.iter().flatten() {
            let kind = kind(wanted.typ());
            if namespaces.has(kind) {
                return Err(invalid(format!("linux.namespaces: {} twice", kind.file())));
            }
            match wanted.path() {
                Some(path) if !path.as_os_str().is_empty() && path.is_relative() => {
                    return Err(invalid(format!("linux.namespaces: path {path:?} must be absolute")));
                }
                Some(path) if !path.as_os_str().is_empty() => namespaces.joined.push((kind, path.clone())),
                _ => namespaces.new.push(kind),
            }
        }
        namespaces.maps = Maps::new(
            linux.uid_mappings.as_deref().unwrap_or_default(),
            linux.gid_mappings.as_deref().unwrap_or_default(),
        );
        for (clock, offset) in linux.time_offsets.iter().flatten() {
            if !["monotonic", "boottime"].contains(&clock.as_str()) {
                return Err(invalid(format!("linux.timeOffsets: no clock {clock:?}")));
            }
            let (seconds, nanos) = (offset.secs().unwrap_or(0), offset.nanosecs().unwrap_or(0));
            namespaces.time_offsets.push_str(&format!("{clock} {seconds} {nanos}\n"));
        }
        namespaces.check()?;
        Ok(namespaces)
    }

    fn check(&self) -> Result<(), CreateError> {
        // One that is joined has its own; callers repeat them, or give some for form's sake.
        if !self.maps.is_empty() && !self.has(Kind::User) {
            return Err(invalid("linux.uidMappings and gidMappings need a user namespace"));
        }
        if self.is_new(Kind::User) && (self.maps.uids.is_empty() || self.maps.gids.is_empty()) {
            return Err(invalid("a new user namespace needs linux.uidMappings and gidMappings"));
        }
        if !self.time_offsets.is_empty() && !self.is_new(Kind::Time) {
            return Err(invalid("linux.timeOffsets needs a new time namespace"));
        }
        Ok(())
    }

    /// Of the ids in a user namespace.
    pub(crate) fn maps(&self) -> &Maps {
        &self.maps
    }

    /// Whether its process begins in the directory that becomes its root: that one may lie where users of the
    /// namespace cannot walk to.
    pub(crate) fn begin_in_root(&self) -> bool {
        self.has(Kind::User) && self.is_new(Kind::Mount)
    }

    /// Whether the container does not share the caller's.
    pub(crate) fn has(&self, kind: Kind) -> bool {
        self.is_new(kind) || self.path(kind).is_some()
    }

    /// Whether one is made.
    pub(crate) fn is_new(&self, kind: Kind) -> bool {
        self.new.contains(&kind)
    }

    fn path(&self, kind: Kind) -> Option<&Path> {
        self.joined.iter().find(|(joined, _)| *joined == kind).map(|(_, path)| path.as_path())
    }

    /// The flags for the clone. A cgroup namespace comes later, when the process is in its cgroup,
    /// because it shows the tree from there; a time namespace comes earlier, to be given its offsets.
    pub(crate) fn clone_flags(&self) -> u64 {
        let made_by_clone = |kind: &&Kind| !matches!(kind, Kind::Cgroup | Kind::Time);
        self.new
            .iter()
            .filter(made_by_clone)
            .fold(0, |flags, kind| flags | u64::from(kind.flag().cast_unsigned()))
    }

    /// Opens one that the child must join by itself, and checks its type.
    pub(crate) fn open(&self, kind: Kind) -> Result<Option<OwnedFd>, SpawnError> {
        self.path(kind).map(|path| open(path, kind)).transpose()
    }

    /// Whether one that is joined is the one that the caller is in.
    pub(crate) fn is_callers(&self, kind: Kind) -> Result<bool, SpawnError> {
        let Some(path) = self.path(kind) else { return Ok(false) };
        let identity = |path: &Path| {
            let found = std::fs::metadata(path).during(format!("look at namespace {}", path.display()))?;
            Ok::<_, SpawnError>((found.dev(), found.ino()))
        };
        Ok(identity(path)? == identity(&Path::new("/proc/self/ns").join(kind.file()))?)
    }

    /// Enters what a child is to inherit. The way back is the answer's `leave`.
    ///
    /// Where a user namespace is joined, the child is a stand-in that makes the process, and tells which one it is. It
    /// must know its number as the caller does, and so the namespace of process ids is left to it ([`Self::open`]).
    pub(crate) fn detour(&self) -> Result<Detour, SpawnError> {
        let mut detour = Detour::new();
        let by_child: &[Kind] = match self.path(Kind::User) {
            Some(_) => &[Kind::User, Kind::Mount, Kind::Pid],
            None => &[Kind::Mount],
        };
        for (kind, path) in &self.joined {
            if !by_child.contains(kind) {
                let target = open(path, *kind)?;
                detour.enter(&target, *kind).during(format!(
                    "join {} namespace {}",
                    kind.file(),
                    path.display()
                ))?;
            }
        }
        if self.is_new(Kind::Time) {
            detour.remember(Kind::Time).during("open time namespace")?;
            namespace::unshare(Kind::Time.flag()).during("new time namespace")?;
            if !self.time_offsets.is_empty() {
                let path = format!("{}/timens_offsets", std::process::id());
                let procfs = Procfs::open().during("open procfs")?;
                procfs.write(path, &self.time_offsets).during("set time offsets")?;
            }
        }
        Ok(detour)
    }

    /// Gives a child in a new user namespace its mappings.
    pub(crate) fn map_ids(&self, pid: i32) -> Result<(), SpawnError> {
        match self.is_new(Kind::User) {
            true => self.maps.give(pid),
            false => Ok(()),
        }
    }

    /// A user namespace that maps ids as the container's does, for mounts; the container's own if it is joined.
    pub(crate) fn user_like_container(&self) -> Result<OwnedFd, SpawnError> {
        match self.open(Kind::User)? {
            Some(joined) => Ok(joined),
            None => self.maps.namespace(),
        }
    }
}

/// The caller's way back to its own namespaces. Dropping it goes back as well, but cannot say why that
/// failed.
#[derive(Debug)]
pub(crate) struct Detour {
    back: Vec<(Kind, OwnedFd)>,
    directory: Option<OwnedFd>,
}

impl Detour {
    /// Joins `target` until the end of the detour.
    pub(crate) fn enter(&mut self, target: &OwnedFd, kind: Kind) -> std::io::Result<()> {
        self.remember(kind)?;
        if kind == Kind::Pid {
            // A child is seen by those inside as soon as it is there; it must be hidden by then.
            nix::sys::prctl::set_dumpable(false)?;
        }
        namespace::enter(target.as_fd(), kind)
    }

    /// A detour with nothing entered yet.
    pub(crate) fn new() -> Self {
        Self { back: Vec::new(), directory: None }
    }

    /// Changes directory until the end of the detour.
    pub(crate) fn step_into(&mut self, directory: &Path) -> std::io::Result<()> {
        self.directory = Some(std::fs::File::open(".")?.into());
        Ok(nix::unistd::chdir(directory)?)
    }

    fn go_back(kind: Kind, own: &OwnedFd) -> std::io::Result<()> {
        if kind == Kind::Pid {
            nix::sys::prctl::set_dumpable(true)?;
        }
        namespace::enter(own.as_fd(), kind)
    }

    fn remember(&mut self, kind: Kind) -> std::io::Result<()> {
        let own = Path::new("/proc/self/ns").join(kind.file());
        self.back.push((kind, namespace::open(&own, kind)?));
        Ok(())
    }

    /// Goes back.
    pub(crate) fn leave(mut self) -> Result<(), SpawnError> {
        if let Some(own) = self.directory.take() {
            nix::unistd::fchdir(own.as_raw_fd()).during("return to own directory")?;
        }
        while let Some((kind, own)) = self.back.pop() {
            Self::go_back(kind, &own).during(format!("return to {} namespace", kind.file()))?;
        }
        Ok(())
    }
}

impl Drop for Detour {
    fn drop(&mut self) {
        if let Some(own) = self.directory.take()
            && let Err(error) = nix::unistd::fchdir(own.as_raw_fd())
        {
            log::error!("could not return to own directory error={error}");
        }
        while let Some((kind, own)) = self.back.pop() {
            if let Err(error) = Self::go_back(kind, &own) {
                log::error!("could not return to own namespace kind={} error={error}", kind.file());
            }
        }
    }
}

fn open(path: &Path, kind: Kind) -> Result<OwnedFd, SpawnError> {
    namespace::open(path, kind).during(format!("open {} namespace {}", kind.file(), path.display()))
}

fn kind(name: LinuxNamespaceType) -> Kind {
    match name {
        LinuxNamespaceType::Mount => Kind::Mount,
        LinuxNamespaceType::Cgroup => Kind::Cgroup,
        LinuxNamespaceType::Uts => Kind::Uts,
        LinuxNamespaceType::Ipc => Kind::Ipc,
        LinuxNamespaceType::User => Kind::User,
        LinuxNamespaceType::Pid => Kind::Pid,
        LinuxNamespaceType::Network => Kind::Network,
        LinuxNamespaceType::Time => Kind::Time,
    }
}

fn invalid(reason: impl Into<String>) -> CreateError {
    CreateError::Config(reason.into())
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::{Value, json};

    fn parse(linux: Value) -> Result<Namespaces, String> {
        let linux: Linux = serde_json::from_value(linux).map_err(|error| error.to_string())?;
        Namespaces::parse(&linux).map_err(|error| error.to_string())
    }

    #[test]
    fn what_contradicts_itself_is_refused() {
        let mount = json!({"type": "mount"});
        let cases = [
            (json!({"namespaces": [mount]}), true),
            (json!({"namespaces": []}), true),
            (json!({"namespaces": [mount, mount]}), false),
            (json!({"namespaces": [mount, {"type": "user"}]}), false),
            (
                json!({"namespaces": [mount], "uidMappings": [{"hostID": 1, "containerID": 0, "size": 1}]}),
                false,
            ),
            (json!({"namespaces": [mount], "timeOffsets": {"monotonic": {"secs": 1}}}), false),
            (
                json!({"namespaces": [mount, {"type": "time"}], "timeOffsets": {"realtime": {"secs": 1}}}),
                false,
            ),
            (
                json!({"namespaces": [mount, {"type": "time"}], "timeOffsets": {"boottime": {"secs": 1}}}),
                true,
            ),
        ];
        for (linux, good) in cases {
            assert_eq!(parse(linux.clone()).is_ok(), good, "{linux}");
        }
    }

    #[test]
    fn cgroup_and_time_namespaces_are_not_made_by_the_clone() {
        let all = json!({"namespaces": [
            {"type": "mount"}, {"type": "cgroup"}, {"type": "time"}, {"type": "network", "path": "/x"}]});
        let flags = parse(all).map(|namespaces| namespaces.clone_flags());
        assert_eq!(flags, Ok(u64::from(Kind::Mount.flag().cast_unsigned())));
    }
}

//! Which namespaces a container gets, and how a process comes into them.
//!
//! Namespaces that exist are joined by the calling process just before it clones, and left again right
//! after: the child inherits them. That needs no further process for the kinds that only a child can
//! enter (process ids, time), and it joins with the caller's rights before the child loses them to a
//! new user namespace. Two kinds cannot work that way: what is seen of the file system cannot be left
//! again, and new namespaces must belong to a user namespace that is joined.

use crate::error::{CreateError, During, SpawnError};
use crate::spec::Linux;
use edgelet_sys::namespace::{self, Kind};
use edgelet_sys::process;
use edgelet_sys::procfs::Procfs;
use oci_spec::runtime::{LinuxIdMapping, LinuxNamespaceType};
use std::os::fd::{AsFd, AsRawFd, OwnedFd};
use std::path::{Path, PathBuf};

/// The namespaces of a container; a kind that is not here is the caller's own.
#[derive(Debug, Default)]
pub(crate) struct Namespaces {
    /// Kinds that are made.
    new: Vec<Kind>,
    /// Kinds that exist, by path.
    joined: Vec<(Kind, PathBuf)>,
    uid_mappings: Vec<LinuxIdMapping>,
    gid_mappings: Vec<LinuxIdMapping>,
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
                Some(path) if !path.as_os_str().is_empty() => namespaces.joined.push((kind, path.clone())),
                _ => namespaces.new.push(kind),
            }
        }
        namespaces.uid_mappings = linux.uid_mappings.clone().unwrap_or_default();
        namespaces.gid_mappings = linux.gid_mappings.clone().unwrap_or_default();
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
        if !self.has(Kind::Mount) {
            let field = "linux.namespaces without a mount namespace".to_owned();
            return Err(CreateError::NotSupported { field });
        }
        let has_mappings = !self.uid_mappings.is_empty() || !self.gid_mappings.is_empty();
        // One that is joined has its own; callers repeat them, or give some for form's sake.
        if has_mappings && !self.has(Kind::User) {
            return Err(invalid("linux.uidMappings and gidMappings need a user namespace"));
        }
        if self.is_new(Kind::User) && (self.uid_mappings.is_empty() || self.gid_mappings.is_empty()) {
            return Err(invalid("a new user namespace needs linux.uidMappings and gidMappings"));
        }
        if !self.time_offsets.is_empty() && !self.is_new(Kind::Time) {
            return Err(invalid("linux.timeOffsets needs a new time namespace"));
        }
        Ok(())
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

    /// Enters what a child is to inherit. The way back is the answer's `leave`.
    ///
    /// Where a user namespace is joined, the child is a helper that makes the process, and tells which one it is. It
    /// must know its number as the caller does, and so the namespace of process ids is left to it ([`Self::open`]).
    pub(crate) fn detour(&self) -> Result<Detour, SpawnError> {
        let mut detour = Detour { back: Vec::new() };
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

    /// Writes the id mappings of a child in a new user namespace (user_namespaces(7)).
    pub(crate) fn map_ids(&self, pid: i32) -> Result<(), SpawnError> {
        if !self.is_new(Kind::User) {
            return Ok(());
        }
        write_maps(pid, &lines(&self.uid_mappings), &lines(&self.gid_mappings))
    }

    /// A user namespace that maps ids as the container's does, for mounts; the container's own if it is joined.
    pub(crate) fn user_like_container(&self) -> Result<OwnedFd, SpawnError> {
        match self.open(Kind::User)? {
            Some(joined) => Ok(joined),
            None => with_maps(&lines(&self.uid_mappings), &lines(&self.gid_mappings)),
        }
    }
}

/// Mappings as the kernel reads them: an id inside, the one outside, how many.
pub(crate) fn lines(mappings: &[LinuxIdMapping]) -> String {
    let line = |map: &LinuxIdMapping| format!("{} {} {}\n", map.container_id(), map.host_id(), map.size());
    mappings.iter().map(line).collect()
}

/// A user namespace with nobody in it.
pub(crate) fn with_maps(uids: &str, gids: &str) -> Result<OwnedFd, SpawnError> {
    let step = "make a user namespace for a mount";
    // A namespace begins with a process; this one waits to be killed.
    let (held, end) = nix::unistd::pipe2(nix::fcntl::OFlag::O_CLOEXEC).during(step)?;
    let child = process::spawn(u64::from(Kind::User.flag().cast_unsigned()), move || {
        drop(end);
        let _ = nix::unistd::read(held.as_raw_fd(), &mut [0]);
        0
    })
    .during(step)?;
    let made = write_maps(child.pid(), uids, gids).and_then(|()| {
        let path = Path::new("/proc").join(child.pid().to_string()).join("ns/user");
        namespace::open(&path, Kind::User).during(step)
    });
    let _ = child.signal(libc::SIGKILL);
    child.wait().during(step)?;
    made
}

fn write_maps(pid: i32, uids: &str, gids: &str) -> Result<(), SpawnError> {
    let procfs = Procfs::open().during("open procfs")?;
    procfs.write(format!("{pid}/uid_map"), uids).during("write uid_map")?;
    procfs.write(format!("{pid}/gid_map"), gids).during("write gid_map")
}

/// The caller's way back to its own namespaces. Dropping it goes back as well, but cannot say why that
/// failed.
#[derive(Debug)]
pub(crate) struct Detour {
    back: Vec<(Kind, OwnedFd)>,
}

impl Detour {
    /// Joins `target` until the end of the detour.
    pub(crate) fn enter(&mut self, target: &OwnedFd, kind: Kind) -> std::io::Result<()> {
        self.remember(kind)?;
        namespace::enter(target.as_fd(), kind)
    }

    /// A detour with nothing entered yet.
    pub(crate) fn new() -> Self {
        Self { back: Vec::new() }
    }

    fn remember(&mut self, kind: Kind) -> std::io::Result<()> {
        let own = Path::new("/proc/self/ns").join(kind.file());
        self.back.push((kind, namespace::open(&own, kind)?));
        Ok(())
    }

    /// Goes back.
    pub(crate) fn leave(mut self) -> Result<(), SpawnError> {
        while let Some((kind, own)) = self.back.pop() {
            namespace::enter(own.as_fd(), kind).during(format!("return to {} namespace", kind.file()))?;
        }
        Ok(())
    }
}

impl Drop for Detour {
    fn drop(&mut self) {
        while let Some((kind, own)) = self.back.pop() {
            if let Err(error) = namespace::enter(own.as_fd(), kind) {
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
            (json!({"namespaces": []}), false),
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

//! The mounts of a configuration: what is to be done, and doing it.

use crate::error::{CreateError, During, SpawnError};
use crate::mount_options::Words;
use crate::namespaces::Namespaces;
use crate::sources::Sources;
use crate::users::Maps;
use crate::{cgroup, copy_up, rootfs};
use edgelet_sys::mount::{self, Attributes, NewFilesystem, Propagation, Tree};
use edgelet_sys::namespace;
use edgelet_sys::root::{Resolve, RootDir};
use nix::errno::Errno;
use nix::fcntl::OFlag;
use nix::sys::stat::fstat;
use nix::sys::statfs::{PROC_SUPER_MAGIC, fstatfs};
use oci_spec::runtime::{LinuxIdMapping, Mount};
use std::collections::BTreeMap;
use std::io;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};
use std::path::{Component, Path, PathBuf};

/// One mount, checked.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct MountPlan {
    /// From the container's root.
    pub(crate) destination: PathBuf,
    pub(crate) kind: Kind,
    /// Of the mount itself.
    pub(crate) attributes: Attributes,
    /// Of it and everything below, when there is any.
    recursive: Attributes,
    propagation: Vec<(Propagation, bool)>,
    id_map: Option<IdMap>,
}

/// How owners of files are shown.
#[derive(Debug, Clone, PartialEq)]
struct IdMap {
    /// Also in what is mounted below.
    recursive: bool,
    /// Without them, as in the container's user namespace.
    maps: Option<Maps>,
}

/// What is mounted.
#[derive(Debug, Clone, PartialEq)]
pub(crate) enum Kind {
    /// A file or directory of the host, with or without what is mounted below.
    Bind { source: PathBuf, recursive: bool },
    /// New attributes for what is mounted there already.
    Remount,
    /// The same, and new parameters for its file system, which the configuration has mounted before.
    Reconfigure(Vec<String>),
    /// The container's part of the cgroup trees, whichever version the host has.
    Cgroup,
    /// A file system with its parameters.
    Filesystem { name: String, source: String, parameters: Vec<String>, copy_up: bool },
}

/// Sees to it that nobody changes what is not the container's: a file system that is mounted again must be one that was
/// mounted before, in the same place, and one of the container's own.
pub(crate) fn settle(mounts: &mut [MountPlan]) -> Result<(), CreateError> {
    for at in 0..mounts.len() {
        let Kind::Reconfigure(parameters) = &mounts[at].kind else { continue };
        let destination = normalised(&mounts[at].destination);
        let refused = |reason: &str| {
            let destination = mounts[at].destination.display();
            Err(CreateError::Config(format!("mount {destination}: remount: {reason}")))
        };
        let earlier = mounts[..at].iter().rev().find(|mount| {
            normalised(&mount.destination) == destination
                && !matches!(mount.kind, Kind::Remount | Kind::Reconfigure(_))
        });
        match earlier.map(|mount| &mount.kind) {
            Some(Kind::Filesystem { name, .. }) if MADE_ANEW.contains(&name.as_str()) => {}
            Some(Kind::Filesystem { .. } | Kind::Cgroup) if parameters.is_empty() => {
                mounts[at].kind = Kind::Remount;
            }
            Some(Kind::Filesystem { .. } | Kind::Cgroup) => {
                return refused("a file system that others have, too, takes no new parameters");
            }
            _ => {
                return refused(
                    "no file system was mounted there before; for a bind mount, say bind as well",
                );
            }
        }
    }
    Ok(())
}

/// File systems that begin with their mount. Others are there once for a namespace, for the machine or for a disk.
const MADE_ANEW: &[&str] = &["tmpfs", "ramfs", "devpts", "overlay"];

/// The file systems that were mounted, by the normalised destination.
pub(crate) type Mounted = BTreeMap<PathBuf, u64>;

/// What the kernel shows for ids that are not mapped (`/proc/sys/kernel/overflowuid`).
const NOBODY: u32 = 65534;

impl MountPlan {
    pub(crate) fn parse(mount: &Mount, bundle: &Path) -> Result<Self, CreateError> {
        let destination = mount.destination().clone();
        let invalid =
            |reason: String| CreateError::Config(format!("mount {}: {reason}", destination.display()));
        let refused = |what: &str| CreateError::NotSupported {
            field: format!("mount {}: {what}", destination.display()),
        };
        if normalised(&destination).as_os_str().is_empty() {
            return Err(invalid("must be below the root".to_owned()));
        }
        let words = Words::parse(mount.options().iter().flatten())
            .map_err(|word| refused(&format!("option {word}")))?;
        let id_map = id_map(mount, words.id_map).map_err(invalid)?;
        let source = mount.source().clone().unwrap_or_default();
        if words.copy_up && (words.bind.is_some() || mount.typ().as_deref() != Some("tmpfs")) {
            return Err(refused("option tmpcopyup on anything but tmpfs"));
        }
        let kind = match (words.bind, mount.typ().as_deref()) {
            (Some(_), _) if words.remount => Kind::Remount,
            (None, _) if words.remount => Kind::Reconfigure(words.parameters),
            (bind, Some("bind")) | (bind @ Some(_), _) => {
                // As mount(2) does: what is bound has a file system already.
                if let Some(word) = words.parameters.first() {
                    log::warn!(
                        "mount {}: option {word} means nothing on a bind mount",
                        destination.display()
                    );
                }
                if source.as_os_str().is_empty() {
                    return Err(invalid("a bind mount needs a source".to_owned()));
                }
                Kind::Bind { source: bundle.join(source), recursive: bind.unwrap_or(true) }
            }
            (None, Some("cgroup" | "cgroup2")) => Kind::Cgroup,
            (None, Some(name)) => Kind::Filesystem {
                name: name.to_owned(),
                source: source.to_string_lossy().into_owned(),
                parameters: words.parameters,
                copy_up: words.copy_up,
            },
            (None, None) => return Err(invalid("needs a type".to_owned())),
        };
        if id_map.is_some() && !matches!(kind, Kind::Bind { .. }) {
            return Err(refused("owners can only be mapped on a bind mount"));
        }
        Ok(Self {
            kind,
            id_map,
            attributes: words.attributes,
            recursive: words.recursive,
            propagation: words.propagation,
            destination,
        })
    }

    /// Checks it against the namespaces of its container.
    pub(crate) fn check(&self, namespaces: &Namespaces) -> Result<(), CreateError> {
        match &self.id_map {
            Some(IdMap { maps: None, .. }) if !namespaces.has(namespace::Kind::User) => {
                let destination = self.destination.display();
                Err(CreateError::Config(format!(
                    "mount {destination}: idmap needs mappings, or a user namespace of the container's own"
                )))
            }
            _ => Ok(()),
        }
    }

    /// Whether everything in the container's `/dev` is the host's, and nothing is to be made there.
    pub(crate) fn brings_host_devices(&self) -> bool {
        matches!(self.kind, Kind::Bind { .. }) && normalised(&self.destination) == Path::new("dev")
    }

    /// Gives the files of a new file system a label; those of the kernel's own have theirs.
    pub(crate) fn label(&mut self, label: &str) {
        const LABELLED_BY_KERNEL: &[&str] = &["proc", "sysfs", "mqueue"];
        match &mut self.kind {
            Kind::Filesystem { name, parameters, .. } if !LABELLED_BY_KERNEL.contains(&name.as_str()) => {
                parameters.push(format!("context={label}"));
            }
            _ => {}
        }
    }

    /// Opens what only the creator can open: owners are mapped by whoever owns the file system, and a source may be
    /// where the container's users cannot go.
    pub(crate) fn prepare(
        &self,
        namespaces: &Namespaces,
        sources: &Sources,
    ) -> Result<Option<Tree>, SpawnError> {
        let step = || format!("mount {}", self.destination.display());
        if self.is_of_a_host_namespace(namespaces) {
            return self.of_the_host().during(step()).map(Some);
        }
        let Kind::Bind { source, recursive } = &self.kind else { return Ok(None) };
        // What is mounted below it later is to be seen on both sides, which only a mount of the host's can offer; and
        // never where users of the container's own could mount it.
        let has_users = namespaces.has(namespace::Kind::User);
        let is_of_both = !has_users && self.is_shared() && mount::is_shared(source).during(step())?;
        if self.id_map.is_none() && !has_users && !is_of_both {
            return Ok(None);
        }
        let tree = match sources.copy(source, *recursive) {
            // The creator has no rights over mounts; the process that is made has, over its own.
            Err(error) if error.raw_os_error() == Some(libc::EPERM) && self.id_map.is_none() => {
                return Ok(None);
            }
            other => other.map_err(|error| named(error, source)).during(step())?,
        };
        if let Some(map) = &self.id_map {
            let users = match &map.maps {
                Some(maps) => maps.namespace()?,
                None => namespaces.user_like_container()?,
            };
            tree.set_id_map(users.as_fd(), map.recursive)
                .during(format!("map owners of {} (Linux 5.12)", source.display()))?;
        }
        Ok(Some(tree))
    }

    /// Whether it shows a namespace that the container shares with the host, and its own users have no rights over.
    fn is_of_a_host_namespace(&self, namespaces: &Namespaces) -> bool {
        let Kind::Filesystem { name, .. } = &self.kind else { return false };
        let shown = match name.as_str() {
            "proc" => namespace::Kind::Pid,
            "sysfs" => namespace::Kind::Network,
            "mqueue" => namespace::Kind::Ipc,
            _ => return false,
        };
        namespaces.has(namespace::Kind::User) && !namespaces.has(shown) && namespace::is_root_of_machine()
    }

    fn of_the_host(&self) -> io::Result<Tree> {
        match &self.kind {
            Kind::Filesystem { name, source, parameters, .. } => {
                self.new_filesystem(name, source, parameters)
            }
            _ => Err(Errno::EINVAL.into()),
        }
    }

    /// Mounts it below `root`, in the calling process's mount namespace. `prepared` is what [`Self::prepare`] gave, and
    /// `mounted` what was mounted before.
    pub(crate) fn carry_out(
        &self,
        root: &RootDir,
        cgroup: &cgroup::View,
        prepared: Option<&Tree>,
        mounted: &mut Mounted,
    ) -> Result<(), SpawnError> {
        let step = || format!("mount {}", self.destination.display());
        match &self.kind {
            Kind::Bind { source, recursive } => {
                let own = || Tree::copy_path(source, *recursive).map_err(|error| named(error, source));
                match prepared {
                    Some(tree) => self.bind(root, tree),
                    None => own().and_then(|own| self.bind(root, &own)),
                }
                .during(step())
            }
            Kind::Remount => {
                let target = root.open_at(&self.destination, OFlag::O_PATH, 0).during(step())?;
                Tree::from(target).change(self.attributes, false).during(step())
            }
            Kind::Reconfigure(parameters) => self.reconfigure(root, parameters, mounted).during(step()),
            Kind::Cgroup => {
                let target = self.directory(root).during(step())?;
                self.keep_off_root(root, target.as_fd()).during(step())?;
                cgroup.mount(target, self.attributes).during(step())
            }
            Kind::Filesystem { name, source, parameters, copy_up } => {
                let new = self.filesystem(root, name, source, parameters, *copy_up, prepared);
                mounted.insert(normalised(&self.destination), new.during(step())?);
                Ok(())
            }
        }
    }

    fn reconfigure(&self, root: &RootDir, parameters: &[String], mounted: &Mounted) -> io::Result<()> {
        let target = root.open_at(&self.destination, OFlag::O_PATH, 0)?;
        // Links of the image's, and what was mounted meanwhile, may lead to a file system of the host's.
        if mounted.get(&normalised(&self.destination)) != Some(&mount::id(target.as_fd())?) {
            return Err(io::Error::other("something else is there by now"));
        }
        let filesystem = NewFilesystem::of(target.as_fd())?;
        if self.attributes.set & mount::READ_ONLY != 0 {
            filesystem.set("ro", None)?;
        } else if self.attributes.clear & mount::READ_ONLY != 0 {
            filesystem.set("rw", None)?;
        }
        set_all(&filesystem, parameters)?;
        filesystem.reconfigure()?;
        Tree::from(target).change(self.attributes, false)
    }

    fn bind(&self, root: &RootDir, tree: &Tree) -> io::Result<()> {
        let is_directory = rootfs::kind_of(tree.as_fd())? == libc::S_IFDIR;
        let target = match is_directory {
            true => root.mkdir_all(&self.destination, 0o755)?.into(),
            false => rootfs::file_at(root, &self.destination)?,
        };
        if !is_directory && rootfs::kind_of(target.as_fd())? == libc::S_IFDIR {
            return Err(io::Error::other("the source is no directory, and the destination is one"));
        }
        self.keep_off_root(root, target.as_fd())?;
        self.keep_out_of_proc(target.as_fd(), Some(tree.as_fd()))?;
        self.hang(tree, target.as_fd())
    }

    fn filesystem(
        &self,
        root: &RootDir,
        name: &str,
        source: &str,
        parameters: &[String],
        copy_up: bool,
        prepared: Option<&Tree>,
    ) -> io::Result<u64> {
        let like_covered = match name {
            "tmpfs" => self.like_covered(root, parameters, copy_up)?,
            _ => Vec::new(),
        };
        let parameters = &[parameters, &like_covered].concat();
        let target: OwnedFd = match name {
            // An image that makes a link of these leads the runtime elsewhere (CVE-2019-19921,
            // CVE-2023-27561): they must be real directories.
            "proc" | "sysfs" => {
                if root.place(&self.destination).and_then(|place| place.stat()).is_ok_and(is_link) {
                    let why = format!("{name} must be mounted on ordinary directory, and this is a link");
                    return Err(io::Error::other(why));
                }
                root.mkdir_all(&self.destination, 0o755)?;
                root.open_with(&self.destination, OFlag::O_PATH | OFlag::O_DIRECTORY, 0, Resolve::NoSymlinks)?
            }
            _ => self.directory(root)?.into(),
        };
        self.keep_off_root(root, target.as_fd())?;
        if name != "proc" {
            self.keep_out_of_proc(target.as_fd(), None)?;
        }
        if let Some(tree) = prepared {
            self.hang(tree, target.as_fd())?;
            return mount::id(tree.as_fd());
        }
        if parameters.iter().any(|parameter| parameter.len() > FSCONFIG_LIMIT) {
            mount::mount_on(target.as_fd(), source, name, self.attributes, &parameters.join(","))?;
            // The target is below the new mount now; walk to it again.
            let mounted = Tree::from(root.open_at(&self.destination, OFlag::O_PATH, 0)?);
            self.propagate(&mounted)?;
            return mount::id(mounted.as_fd());
        }
        let tree = self.new_filesystem(name, source, parameters)?;
        if copy_up {
            let inside = RootDir::from_fd(tree.as_fd().try_clone_to_owned()?)?;
            copy_up::copy_up(&self.directory(root)?, &inside)?;
        }
        self.hang(&tree, target.as_fd())?;
        mount::id(tree.as_fd())
    }

    /// What makes a memory file system look like the directory that it covers, if there was one, and as far as the
    /// configuration does not say it: its mode, and with the content its owner.
    fn like_covered(&self, root: &RootDir, given: &[String], copy_up: bool) -> io::Result<Vec<String>> {
        let covered = match root.open_at(&self.destination, OFlag::O_PATH | OFlag::O_DIRECTORY, 0) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
            other => fstat(other?.as_raw_fd())?,
        };
        let mut like = vec![format!("mode={:o}", covered.st_mode & 0o7777)];
        if copy_up {
            // Nobody is who the owner is that a user namespace does not know.
            let is_somebody = |id: &u32| ![0, NOBODY].contains(id);
            like.extend(Some(covered.st_uid).filter(is_somebody).map(|uid| format!("uid={uid}")));
            like.extend(Some(covered.st_gid).filter(is_somebody).map(|gid| format!("gid={gid}")));
        }
        let is_given = |name: &str| given.iter().any(|parameter| parameter.split('=').next() == Some(name));
        like.retain(|parameter| !parameter.split('=').next().is_some_and(is_given));
        Ok(like)
    }

    /// A detached mount, still writable: it becomes read-only when it is attached.
    fn new_filesystem(&self, name: &str, source: &str, parameters: &[String]) -> io::Result<Tree> {
        let new = NewFilesystem::open(name).map_err(|error| named(error, Path::new(name)))?;
        if !source.is_empty() {
            new.set("source", Some(source))?;
        }
        if self.attributes.set & mount::READ_ONLY != 0 && !SHARED_SUPERBLOCK.contains(&name) {
            new.set("ro", None)?;
        }
        set_all(&new, parameters)?;
        new.mount(Attributes::setting(self.attributes.set & !mount::READ_ONLY))
    }

    fn directory(&self, root: &RootDir) -> io::Result<RootDir> {
        root.mkdir_all(&self.destination, 0o755)
    }

    fn hang(&self, tree: &Tree, target: BorrowedFd<'_>) -> io::Result<()> {
        if !self.recursive.is_empty() {
            tree.change(self.recursive, true)?;
        }
        tree.attach_with(target, self.attributes, false)?;
        if matches!(self.kind, Kind::Bind { .. }) && !self.is_shared() {
            // What the creator opened is still a mount of the host's: what is mounted below it must not reach the host.
            tree.set_propagation(Propagation::Slave, true)?;
        }
        self.propagate(tree)
    }

    fn is_shared(&self) -> bool {
        self.propagation.iter().any(|(propagation, _)| *propagation == Propagation::Shared)
    }

    fn propagate(&self, tree: &Tree) -> io::Result<()> {
        self.propagation.iter().try_for_each(|(propagation, all)| tree.set_propagation(*propagation, *all))
    }

    /// What is mounted over the root would be what an exec begins in, and nobody else sees.
    fn keep_off_root(&self, root: &RootDir, target: BorrowedFd<'_>) -> io::Result<()> {
        match rootfs::is_root(root, target)? {
            true => Err(io::Error::other("the image has a link there that leads to the root itself")),
            false => Ok(()),
        }
    }

    /// Mounts inside a procfs could make the runtime itself read or write something else, in this
    /// container or one that shares its processes. Only files known to be harmless may be covered, and
    /// `/proc` itself only by a procfs.
    fn keep_out_of_proc(&self, target: BorrowedFd<'_>, tree: Option<BorrowedFd<'_>>) -> io::Result<()> {
        let destination = normalised(&self.destination);
        let inside = destination.strip_prefix("proc").ok();
        if inside == Some(Path::new("")) {
            let is_root =
                |fd: BorrowedFd<'_>| Ok::<_, Errno>(is_procfs(fd)? && fstat(fd.as_raw_fd())?.st_ino == 1);
            return match tree.map(is_root).transpose()? {
                Some(true) => Ok(()),
                _ => Err(io::Error::other("only a whole procfs may be mounted on /proc")),
            };
        }
        let harmless = inside.is_some_and(|inside| COVERABLE.iter().any(|path| inside == Path::new(path)));
        match is_procfs(target)? && !harmless {
            true => Err(io::Error::other("a mount inside procfs is not allowed here")),
            false => Ok(()),
        }
    }
}

fn set_all(filesystem: &NewFilesystem, parameters: &[String]) -> io::Result<()> {
    parameters.iter().try_for_each(|parameter| match parameter.split_once('=') {
        Some((key, value)) => filesystem.set(key, Some(value)),
        None => filesystem.set(parameter, None),
    })
}

fn is_link(found: Option<std::fs::Metadata>) -> bool {
    found.is_some_and(|found| found.is_symlink())
}

/// OCI runtime-spec 1.2, config.md, "Mounts": mappings come in pairs, and mean the same as the option.
fn id_map(mount: &Mount, option: Option<bool>) -> Result<Option<IdMap>, String> {
    let filled = |maps: &Option<Vec<LinuxIdMapping>>| maps.clone().filter(|maps| !maps.is_empty());
    let maps = match (filled(mount.uid_mappings()), filled(mount.gid_mappings())) {
        (Some(uids), Some(gids)) => Some(Maps::new(&uids, &gids)),
        (None, None) => None,
        _ => return Err("needs both uidMappings and gidMappings".to_owned()),
    };
    let wanted = option.is_some() || maps.is_some();
    Ok(wanted.then(|| IdMap { recursive: option.unwrap_or(false), maps }))
}

fn is_procfs(fd: BorrowedFd<'_>) -> Result<bool, Errno> {
    Ok(fstatfs(fd)?.filesystem_type() == PROC_SUPER_MAGIC)
}

/// fsconfig(2) takes strings of at most 255 bytes.
const FSCONFIG_LIMIT: usize = 255;

/// All their mounts in a namespace are one superblock, which must not become read-only.
const SHARED_SUPERBLOCK: &[&str] = &["proc", "sysfs", "mqueue", "devpts", "tmpfs"];

/// What tools such as lxcfs cover with a container's own numbers; no runtime reads or writes these.
const COVERABLE: &[&str] = &[
    "cpuinfo",
    "diskstats",
    "meminfo",
    "stat",
    "swaps",
    "uptime",
    "loadavg",
    "slabinfo",
    "sys/kernel/ns_last_pid",
    "sys/crypto/fips_enabled",
];

/// The path from the root as the text has it: without `/`, `.` and with `..` resolved.
fn normalised(path: &Path) -> PathBuf {
    path.components().fold(PathBuf::new(), |mut path, component| {
        match component {
            Component::Normal(name) => path.push(name),
            Component::ParentDir => drop(path.pop()),
            Component::RootDir | Component::CurDir | Component::Prefix(_) => {}
        }
        path
    })
}

fn named(error: io::Error, what: &Path) -> io::Error {
    io::Error::new(error.kind(), format!("{}: {error}", what.display()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_bind_needs_a_source_and_nothing_is_mounted_on_the_root() {
        let plan = |json| {
            let mount: Mount = serde_json::from_value(json).expect("a mount");
            MountPlan::parse(&mount, Path::new("/b")).map_err(|error| error.to_string())
        };
        use serde_json::json;
        assert!(plan(json!({"destination": "/a/..", "source": "s", "options": ["bind"]})).is_err());
        assert!(plan(json!({"destination": "/x", "options": ["bind"]})).is_err());
        assert!(plan(json!({"destination": "/x"})).is_err());
        let relative = plan(json!({"destination": "x", "source": "s", "options": ["bind"]}));
        let kind = relative.map(|plan| plan.kind);
        assert_eq!(kind, Ok(Kind::Bind { source: PathBuf::from("/b/s"), recursive: false }));
    }
}

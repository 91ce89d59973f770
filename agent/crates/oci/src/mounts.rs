//! The mounts of a configuration: option words turned into what is to be done, and doing it.

use crate::error::{CreateError, During, SpawnError};
use crate::{cgroup_mounts, copy_up, rootfs};
use edgelet_sys::mount::{self, Attributes, NewFilesystem, Propagation, Tree};
use edgelet_sys::root::{Resolve, RootDir};
use nix::errno::Errno;
use nix::fcntl::OFlag;
use nix::sys::stat::fstat;
use nix::sys::statfs::{PROC_SUPER_MAGIC, fstatfs};
use oci_spec::runtime::Mount;
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
}

/// What is mounted.
#[derive(Debug, Clone, PartialEq)]
pub(crate) enum Kind {
    /// A file or directory of the host, with or without what is mounted below.
    Bind { source: PathBuf, recursive: bool },
    /// New attributes for what is mounted there already.
    Remount,
    /// The container's part of the cgroup trees, whichever version the host has.
    Cgroup,
    /// A file system with its parameters.
    Filesystem { name: String, source: String, parameters: Vec<String>, copy_up: bool },
}

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
        if mount.uid_mappings().is_some() || mount.gid_mappings().is_some() {
            return Err(refused("id-mapped mount"));
        }
        let words = Words::parse(mount.options().iter().flatten())
            .map_err(|word| refused(&format!("option {word}")))?;
        let source = mount.source().clone().unwrap_or_default();
        if words.copy_up && (words.bind.is_some() || mount.typ().as_deref() != Some("tmpfs")) {
            return Err(refused("option tmpcopyup on anything but tmpfs"));
        }
        let kind = match (words.bind, mount.typ().as_deref()) {
            (Some(_), _) if words.remount => Kind::Remount,
            (None, _) if words.remount => return Err(refused("remount without bind")),
            (bind, Some("bind")) | (bind @ Some(_), _) => {
                if let Some(word) = words.parameters.first() {
                    return Err(refused(&format!("option {word} on a bind mount")));
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
        Ok(Self {
            kind,
            attributes: words.attributes,
            recursive: words.recursive,
            propagation: words.propagation,
            destination,
        })
    }

    /// Whether everything in the container's `/dev` is the host's, and nothing is to be made there.
    pub(crate) fn brings_host_devices(&self) -> bool {
        matches!(self.kind, Kind::Bind { .. }) && normalised(&self.destination) == Path::new("dev")
    }

    /// Mounts it below `root`, in the calling process's mount namespace.
    pub(crate) fn carry_out(&self, root: &RootDir, cgroup: &cgroup_mounts::View) -> Result<(), SpawnError> {
        let step = || format!("mount {}", self.destination.display());
        match &self.kind {
            Kind::Bind { source, recursive } => self.bind(root, source, *recursive).during(step()),
            Kind::Remount => {
                let target = root.open_at(&self.destination, OFlag::O_PATH, 0).during(step())?;
                Tree::from(target).change(self.attributes, false).during(step())
            }
            Kind::Cgroup => {
                let target = self.directory(root).during(step())?;
                cgroup.mount(target, self.attributes).during(step())
            }
            Kind::Filesystem { name, source, parameters, copy_up } => {
                self.filesystem(root, name, source, parameters, *copy_up).during(step())
            }
        }
    }

    fn bind(&self, root: &RootDir, source: &Path, recursive: bool) -> io::Result<()> {
        let tree = Tree::copy_path(source, recursive).map_err(|error| named(error, source))?;
        let is_directory = rootfs::kind_of(tree.as_fd())? == libc::S_IFDIR;
        let target = match is_directory {
            true => root.mkdir_all(&self.destination, 0o755)?.into(),
            false => rootfs::file_at(root, &self.destination)?,
        };
        self.keep_out_of_proc(target.as_fd(), Some(tree.as_fd()))?;
        self.hang(&tree, target.as_fd())
    }

    fn filesystem(
        &self,
        root: &RootDir,
        name: &str,
        source: &str,
        parameters: &[String],
        copy_up: bool,
    ) -> io::Result<()> {
        let target: OwnedFd = match name {
            // An image that makes a link of these leads the runtime elsewhere (CVE-2019-19921,
            // CVE-2023-27561): they must be real directories.
            "proc" | "sysfs" => {
                root.mkdir_all(&self.destination, 0o755)?;
                root.open_with(&self.destination, OFlag::O_PATH | OFlag::O_DIRECTORY, 0, Resolve::NoSymlinks)?
            }
            _ => self.directory(root)?.into(),
        };
        if name != "proc" {
            self.keep_out_of_proc(target.as_fd(), None)?;
        }
        if parameters.iter().any(|parameter| parameter.len() > FSCONFIG_LIMIT) {
            mount::mount_on(target.as_fd(), source, name, self.attributes, &parameters.join(","))?;
            // The target is below the new mount now; walk to it again.
            let mounted = root.open_at(&self.destination, OFlag::O_PATH, 0)?;
            return self.propagate(&Tree::from(mounted));
        }
        let tree = self.new_filesystem(name, source, parameters)?;
        if copy_up {
            let inside = RootDir::from_fd(tree.as_fd().try_clone_to_owned()?)?;
            copy_up::copy_up(&self.directory(root)?, &inside)?;
        }
        self.hang(&tree, target.as_fd())
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
        for parameter in parameters {
            match parameter.split_once('=') {
                Some((key, value)) => new.set(key, Some(value))?,
                None => new.set(parameter, None)?,
            }
        }
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
        self.propagate(tree)
    }

    fn propagate(&self, tree: &Tree) -> io::Result<()> {
        self.propagation.iter().try_for_each(|(propagation, all)| tree.set_propagation(*propagation, *all))
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

/// Option words, sorted by what they mean.
#[derive(Debug, Default, PartialEq)]
struct Words {
    /// A bind mount, and whether it takes what is mounted below.
    bind: Option<bool>,
    remount: bool,
    copy_up: bool,
    attributes: Attributes,
    recursive: Attributes,
    propagation: Vec<(Propagation, bool)>,
    /// For the file system.
    parameters: Vec<String>,
}

impl Words {
    /// Later words win over earlier ones. The error is a word that is not supported.
    fn parse<'a>(options: impl Iterator<Item = &'a String>) -> Result<Self, String> {
        let mut words = Self::default();
        for word in options {
            match word.as_str() {
                // The kernel logs little about mounts; how much is nobody's business here.
                "defaults" | "" | "silent" | "loud" => {}
                "bind" => words.bind = Some(false),
                "rbind" => words.bind = Some(true),
                "remount" => words.remount = true,
                "tmpcopyup" => words.copy_up = true,
                "idmap" | "ridmap" => return Err(word.clone()),
                text if text.starts_with("idmap=") || text.starts_with("ridmap=") => return Err(word.clone()),
                text => {
                    if let Some((change, recursive)) = attribute(text) {
                        let target = if recursive { &mut words.recursive } else { &mut words.attributes };
                        target.set = (target.set & !change.clear) | change.set;
                        target.clear = (target.clear & !change.set) | change.clear;
                    } else if let Some(propagation) = propagation(text) {
                        words.propagation.push(propagation);
                    } else {
                        words.parameters.push(word.clone());
                    }
                }
            }
        }
        Ok(words)
    }
}

/// The attribute words, each of which has a recursive form with `r` in front (OCI runtime-spec 1.1,
/// config.md, "Linux mount options").
fn attribute(word: &str) -> Option<(Attributes, bool)> {
    if let Some(change) = simple_attribute(word) {
        return Some((change, false));
    }
    word.strip_prefix('r').and_then(simple_attribute).map(|change| (change, true))
}

/// Every option word that is known here; others go to the file system.
pub(crate) const OPTIONS: &[&str] = &[
    "atime",
    "bind",
    "defaults",
    "dev",
    "diratime",
    "exec",
    "loud",
    "noatime",
    "nodev",
    "nodiratime",
    "noexec",
    "norelatime",
    "nostrictatime",
    "nosuid",
    "nosymfollow",
    "private",
    "ratime",
    "rbind",
    "rdev",
    "rdiratime",
    "relatime",
    "remount",
    "rexec",
    "rnoatime",
    "rnodev",
    "rnodiratime",
    "rnoexec",
    "rnorelatime",
    "rnostrictatime",
    "rnosuid",
    "rnosymfollow",
    "ro",
    "rprivate",
    "rrelatime",
    "rro",
    "rrw",
    "rshared",
    "rslave",
    "rstrictatime",
    "rsuid",
    "rsymfollow",
    "runbindable",
    "rw",
    "shared",
    "silent",
    "slave",
    "strictatime",
    "suid",
    "symfollow",
    "tmpcopyup",
    "unbindable",
];

fn simple_attribute(word: &str) -> Option<Attributes> {
    use mount::*;
    let set = Attributes::setting;
    let clear = |clear| Attributes { set: 0, clear };
    let access_time = |mode| Attributes { set: mode, clear: ACCESS_TIME & !mode };
    Some(match word {
        "ro" => set(READ_ONLY),
        "rw" => clear(READ_ONLY),
        "nosuid" => set(NO_SUID),
        "suid" => clear(NO_SUID),
        "nodev" => set(NO_DEV),
        "dev" => clear(NO_DEV),
        "noexec" => set(NO_EXEC),
        "exec" => clear(NO_EXEC),
        "nodiratime" => set(NO_DIR_ACCESS_TIME),
        "diratime" => clear(NO_DIR_ACCESS_TIME),
        "nosymfollow" => set(NO_SYMLINK_FOLLOW),
        "symfollow" => clear(NO_SYMLINK_FOLLOW),
        "noatime" => access_time(NO_ACCESS_TIME),
        "strictatime" => access_time(STRICT_ACCESS_TIME),
        // Relative is the zero of the field, and what every "not that" means.
        "relatime" | "atime" | "norelatime" | "nostrictatime" => access_time(0),
        _ => return None,
    })
}

fn propagation(word: &str) -> Option<(Propagation, bool)> {
    let simple = |word: &str| {
        Some(match word {
            "shared" => Propagation::Shared,
            "slave" => Propagation::Slave,
            "private" => Propagation::Private,
            "unbindable" => Propagation::Unbindable,
            _ => return None,
        })
    };
    simple(word).map(|kind| (kind, false)).or_else(|| Some((simple(word.strip_prefix('r')?)?, true)))
}

/// What `linux.rootfsPropagation` says.
pub(crate) fn root_propagation(word: &str) -> Result<(Propagation, bool), CreateError> {
    propagation(word)
        .ok_or_else(|| CreateError::Config(format!("linux.rootfsPropagation: no such mode {word:?}")))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn words(text: &str) -> Result<Words, String> {
        let words: Vec<String> = text.split(',').map(str::to_owned).collect();
        Words::parse(words.iter())
    }

    #[test]
    fn later_words_win() {
        let attributes = words("ro,nosuid,rw,suid,nodev").map(|words| words.attributes);
        assert_eq!(
            attributes,
            Ok(Attributes { set: mount::NO_DEV, clear: mount::READ_ONLY | mount::NO_SUID })
        );
        let times = words("noatime,strictatime").map(|words| words.attributes.set);
        assert_eq!(times, Ok(mount::STRICT_ACCESS_TIME));
    }

    #[test]
    fn a_leading_r_means_everything_below_except_where_it_is_part_of_the_word() {
        let words = words("rbind,rro,relatime,rw,rprivate,rnosuid").expect("known words");
        assert_eq!(words.bind, Some(true));
        assert_eq!(words.recursive, Attributes::setting(mount::READ_ONLY | mount::NO_SUID));
        assert_eq!(words.attributes.set, 0);
        assert_eq!(words.propagation, vec![(Propagation::Private, true)]);
        assert!(words.parameters.is_empty());
    }

    #[test]
    fn unknown_words_go_to_the_file_system_and_unsupported_ones_are_named() {
        assert_eq!(words("mode=755,size=64k,noswap").map(|words| words.parameters.len()), Ok(3));
        assert_eq!(words("bind,idmap"), Err("idmap".to_owned()));
        assert_eq!(words("mode=1,tmpcopyup").map(|words| words.copy_up), Ok(true));
    }

    #[test]
    fn a_bind_takes_no_parameters_and_nothing_is_mounted_on_the_root() {
        let plan = |json| {
            let mount: Mount = serde_json::from_value(json).expect("a mount");
            MountPlan::parse(&mount, Path::new("/b")).map_err(|error| error.to_string())
        };
        use serde_json::json;
        assert!(plan(json!({"destination": "/x", "source": "s", "options": ["bind", "size=1"]})).is_err());
        assert!(plan(json!({"destination": "/a/..", "source": "s", "options": ["bind"]})).is_err());
        assert!(plan(json!({"destination": "/x", "options": ["bind"]})).is_err());
        assert!(plan(json!({"destination": "/x"})).is_err());
        let relative = plan(json!({"destination": "x", "source": "s", "options": ["bind"]}));
        let kind = relative.map(|plan| plan.kind);
        assert_eq!(kind, Ok(Kind::Bind { source: PathBuf::from("/b/s"), recursive: false }));
    }
}

//! What is in a container's `/dev` (OCI runtime-spec 1.3, config-linux.md, "Devices", "Default Devices",
//! and "Dev symbolic links").

use crate::config::Config;
use crate::error::{During, SpawnError};
use crate::rootfs;
use edgelet_sys::mount::{Attributes, NewFilesystem, Tree};
use edgelet_sys::namespace::{self, Kind};
use edgelet_sys::place::{Node, Place};
use edgelet_sys::root::RootDir;
use nix::sys::stat::SFlag;
use oci_spec::runtime::{LinuxDevice, LinuxDeviceType};
use std::io;
use std::os::fd::{AsFd, AsRawFd};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

/// The listed devices, in their order, in a detached file system of their own: where the process that is made cannot
/// make any, and what its users may do with the host's is not what the configuration says.
pub(crate) fn make_ahead(config: &Config) -> Result<Option<Tree>, SpawnError> {
    let listed = listed(config)?;
    if listed.is_empty() || !config.namespaces.has(Kind::User) || !namespace::is_root_of_machine() {
        return Ok(None);
    }
    let make = || -> io::Result<Tree> {
        let memory = NewFilesystem::open("tmpfs")?.mount(Attributes::default())?;
        let root = RootDir::from_fd(memory.as_fd().try_clone_to_owned()?)?.open_dir(".")?;
        for (number, device) in listed.iter().enumerate() {
            let maps = config.namespaces.maps();
            let (uid, gid) = (maps.uid_outside(device.uid), maps.gid_outside(device.gid));
            // Nobody's, where the namespace has no such id.
            let owned = Device { uid: uid.unwrap_or(0), gid: gid.unwrap_or(0), ..device.clone() };
            owned.make_node(&root.place(number.to_string())?)?;
        }
        Ok(memory)
    };
    make().map(Some).during("make devices")
}

/// Makes the listed devices, the default ones, and the links that programs expect.
pub(crate) fn make(root: &RootDir, config: &Config, ahead: Option<Tree>) -> Result<(), SpawnError> {
    // Device nodes cannot be made in a user namespace, the caller's or a new one; the host's are mounted instead.
    let bind = config.namespaces.has(Kind::User) || !namespace::is_root_of_machine();
    let listed = listed(config)?;
    let defaults = DEFAULTS.iter().map(Device::standard);
    let is_listed = |device: &Device| listed.iter().any(|listed| listed.path == device.path);
    for device in defaults.filter(|device| !is_listed(device)) {
        device.make(root, bind.then_some(Source::Host)).during(device.step())?;
    }
    match &ahead {
        Some(ahead) => {
            let source = |number| Some(Source::Ahead(ahead, number));
            ahead.attached_meanwhile(|| make_listed(root, &listed, source)).during("attach devices")??;
        }
        None => make_listed(root, &listed, |_| bind.then_some(Source::Host))?,
    }
    for (link, target) in LINKS {
        make_link(root, Path::new(link), Path::new(target)).during(format!("link /{link}"))?;
    }
    Ok(())
}

fn make_listed<'a>(
    root: &RootDir,
    listed: &[Device],
    source: impl Fn(usize) -> Option<Source<'a>>,
) -> Result<(), SpawnError> {
    listed
        .iter()
        .enumerate()
        .try_for_each(|(number, device)| device.make(root, source(number)).during(device.step()))
}

fn listed(config: &Config) -> Result<Vec<Device>, SpawnError> {
    let listed = config.linux.devices.iter().flatten().map(Device::parse).collect::<Result<_, _>>();
    listed.map_err(io::Error::other).during("linux.devices")
}

/// What is mounted where no node can be made.
enum Source<'a> {
    /// What the host has at the same path.
    Host,
    /// What was [made ahead](make_ahead), by its number.
    Ahead(&'a Tree, usize),
}

impl Source<'_> {
    fn copy(&self, path: &Path) -> io::Result<Tree> {
        match self {
            Source::Host => Tree::copy_path(path, false),
            Source::Ahead(tree, number) => tree.copy_inside(Path::new(&number.to_string())),
        }
    }
}

/// The kernel has 12 and 20 bits for them, and cuts off the others.
const MOST_MAJOR: u64 = (1 << 12) - 1;
const MOST_MINOR: u64 = (1 << 20) - 1;

/// A node to be made.
#[derive(Debug, Clone)]
struct Device {
    path: PathBuf,
    node: Node,
    mode: u32,
    uid: u32,
    gid: u32,
}

const DEFAULTS: &[(&str, u64, u64)] = &[
    ("/dev/null", 1, 3),
    ("/dev/zero", 1, 5),
    ("/dev/full", 1, 7),
    ("/dev/random", 1, 8),
    ("/dev/urandom", 1, 9),
    ("/dev/tty", 5, 0),
];

const LINKS: &[(&str, &str)] = &[
    ("dev/fd", "/proc/self/fd"),
    ("dev/stdin", "/proc/self/fd/0"),
    ("dev/stdout", "/proc/self/fd/1"),
    ("dev/stderr", "/proc/self/fd/2"),
    ("dev/ptmx", "pts/ptmx"),
];

impl Device {
    fn standard((path, major, minor): &(&str, u64, u64)) -> Self {
        Self { path: PathBuf::from(path), node: Node::Char(*major, *minor), mode: 0o666, uid: 0, gid: 0 }
    }

    fn parse(device: &LinuxDevice) -> Result<Self, String> {
        let number = |value: i64, most: u64| match u64::try_from(value) {
            Ok(number) if number <= most => Ok(number),
            _ => Err(format!("{}: no device number {value}", device.path().display())),
        };
        let major = || number(device.major(), MOST_MAJOR);
        let minor = || number(device.minor(), MOST_MINOR);
        let node = match device.typ() {
            LinuxDeviceType::C | LinuxDeviceType::U => Node::Char(major()?, minor()?),
            LinuxDeviceType::B => Node::Block(major()?, minor()?),
            LinuxDeviceType::P => Node::Fifo,
            LinuxDeviceType::A => {
                return Err(format!("{}: type a is for rules, not for nodes", device.path().display()));
            }
        };
        Ok(Self {
            path: device.path().clone(),
            node,
            mode: device.file_mode().unwrap_or(0o666) & 0o7777,
            uid: device.uid().unwrap_or(0),
            gid: device.gid().unwrap_or(0),
        })
    }

    fn step(&self) -> String {
        format!("device {}", self.path.display())
    }

    /// Makes the node, or mounts it from its source.
    fn make(&self, root: &RootDir, source: Option<Source<'_>>) -> io::Result<()> {
        if let Some(parent) = self.path.parent() {
            root.mkdir_all(parent, 0o755)?;
        }
        let place = root.place(&self.path)?;
        match (place.stat()?, &source) {
            (Some(found), None | Some(Source::Host)) if self.is(found.mode(), found.rdev()) => return Ok(()),
            // Something to mount on, left by an earlier container of the same root or made by the image.
            (Some(found), Some(_)) if found.is_file() || self.is(found.mode(), found.rdev()) => {}
            (Some(_), _) => {
                return Err(io::Error::new(io::ErrorKind::AlreadyExists, "something else is there"));
            }
            (None, Some(_)) => drop(place.create(0o644)?),
            (None, None) => return self.make_node(&place),
        }
        let Some(source) = source else { return Ok(()) };
        let target = root.open_path(&self.path)?;
        let source = source.copy(&self.path)?;
        let stat = nix::sys::stat::fstat(source.as_fd().as_raw_fd())?;
        match self.is(stat.st_mode, stat.st_rdev) {
            true => source.attach(target.as_fd()),
            false => Err(io::Error::other("the host has another device there")),
        }
    }

    fn make_node(&self, place: &Place) -> io::Result<()> {
        place.mknod(self.node, self.mode)?;
        place.set_owner(self.uid, self.gid)
    }

    fn is(&self, mode: u32, rdev: u64) -> bool {
        let (kind, number) = match self.node {
            Node::Fifo => (SFlag::S_IFIFO, None),
            Node::Char(major, minor) => (SFlag::S_IFCHR, Some(nix::sys::stat::makedev(major, minor))),
            Node::Block(major, minor) => (SFlag::S_IFBLK, Some(nix::sys::stat::makedev(major, minor))),
        };
        mode & libc::S_IFMT == kind.bits() && number.is_none_or(|number| number == rdev)
    }
}

/// What an image or the list of devices brought stays.
fn make_link(root: &RootDir, link: &Path, target: &Path) -> io::Result<()> {
    let place = root.place(link)?;
    match place.symlink(target) {
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists => Ok(()),
        other => other,
    }
}

/// Mounts a terminal on the container's `/dev/console`, by descriptor: the name could be swapped
/// (CVE-2025-52565).
pub(crate) fn mount_console(root: &RootDir, terminal: &impl AsFd) -> io::Result<()> {
    let target = rootfs::file_at(root, Path::new("dev/console"))?;
    Tree::copy_fd(terminal.as_fd(), false)?.attach(target.as_fd())
}

//! Mounts by descriptor: a tree is made detached, given its attributes, and attached where an open
//! descriptor points, so that no name is looked up twice (Linux 5.2; attributes of detached trees 5.12).

use nix::errno::Errno;
use nix::mount::MsFlags;
use std::ffi::{CStr, CString};
use std::io::{self, Read};
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, FromRawFd, OwnedFd, RawFd};
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;

/// What a mount forbids, and how access times are kept. The bits are those of `mount_setattr(2)`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Attributes {
    /// Bits to set.
    pub set: u64,
    /// Bits to clear.
    pub clear: u64,
}

/// No writes through this mount.
pub const READ_ONLY: u64 = 0x1;
/// Set-user-id bits and file capabilities mean nothing.
pub const NO_SUID: u64 = 0x2;
/// Device nodes cannot be opened.
pub const NO_DEV: u64 = 0x4;
/// Nothing can be executed.
pub const NO_EXEC: u64 = 0x8;
/// The field of access-time modes; zero means relative.
pub const ACCESS_TIME: u64 = 0x70;
/// Access times are never updated.
pub const NO_ACCESS_TIME: u64 = 0x10;
/// Access times are always updated.
pub const STRICT_ACCESS_TIME: u64 = 0x20;
/// Access times of directories are never updated.
pub const NO_DIR_ACCESS_TIME: u64 = 0x80;
/// Symbolic links are not followed (Linux 5.14).
pub const NO_SYMLINK_FOLLOW: u64 = 0x20_0000;

impl Attributes {
    /// Only sets bits.
    pub const fn setting(set: u64) -> Self {
        Self { set, clear: 0 }
    }

    /// Whether there is nothing to change.
    pub fn is_empty(&self) -> bool {
        self.set == 0 && self.clear == 0
    }
}

/// How mounts and unmounts travel between copies of a mount (mount_namespaces(7)).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Propagation {
    /// Both ways.
    Shared,
    /// Only towards us.
    Slave,
    /// Not at all.
    Private,
    /// Not at all, and it cannot be copied.
    Unbindable,
}

impl Propagation {
    /// The flag of mount(2) and `mount_setattr(2)`.
    pub fn flag(self) -> MsFlags {
        match self {
            Propagation::Shared => MsFlags::MS_SHARED,
            Propagation::Slave => MsFlags::MS_SLAVE,
            Propagation::Private => MsFlags::MS_PRIVATE,
            Propagation::Unbindable => MsFlags::MS_UNBINDABLE,
        }
    }
}

/// A mount, or a tree of mounts, held by descriptor. A detached one goes away when this is dropped.
#[derive(Debug)]
pub struct Tree {
    fd: OwnedFd,
}

impl Tree {
    /// A copy of what is mounted at `path`, detached. The path is trusted.
    pub fn copy_path(path: &Path, recursive: bool) -> io::Result<Self> {
        open_tree(libc::AT_FDCWD, &c_path(path)?, copy_flags(recursive))
    }

    /// A copy of what `fd` refers to (it may be opened with `O_PATH`), detached.
    pub fn copy_fd(fd: BorrowedFd<'_>, recursive: bool) -> io::Result<Self> {
        open_tree(fd.as_raw_fd(), c"", copy_flags(recursive) | libc::AT_EMPTY_PATH as u32)
    }

    /// A copy of what is below this one, which must be attached, at a path of our own making.
    pub fn copy_inside(&self, path: &Path) -> io::Result<Self> {
        open_tree(self.fd.as_raw_fd(), &c_path(path)?, copy_flags(false))
    }

    /// Hangs this tree on top of everything, for as long as `work` takes: what is not attached cannot be copied.
    pub fn attached_meanwhile<T>(&self, work: impl FnOnce() -> T) -> io::Result<T> {
        let root = std::fs::File::open("/")?;
        self.attach(root.as_fd())?;
        let done = work();
        // The parent of a root is what is mounted on top of it.
        nix::mount::umount2("/..", nix::mount::MntFlags::MNT_DETACH)?;
        Ok(done)
    }

    /// Hangs this tree on what `target` refers to. Nothing is looked up by name.
    pub fn attach(&self, target: BorrowedFd<'_>) -> io::Result<()> {
        move_mount(self.fd.as_fd(), target)
    }

    /// Hangs this tree on `target` with these attributes, of the top mount or of all.
    ///
    /// Before Linux 5.12 the attributes come a moment after the mount, and only for the top one:
    /// `EOPNOTSUPP` when all were asked for.
    pub fn attach_with(&self, target: BorrowedFd<'_>, attributes: Attributes, all: bool) -> io::Result<()> {
        match self.set_attributes(attributes, all) {
            Err(error) if error.raw_os_error() == Some(libc::ENOSYS) => {
                self.attach(target)?;
                self.change(attributes, all)
            }
            other => {
                other?;
                self.attach(target)
            }
        }
    }

    /// Changes the attributes of a mount that is attached, or of all below it as well (Linux 5.12,
    /// `EOPNOTSUPP` before).
    pub fn change(&self, attributes: Attributes, all: bool) -> io::Result<()> {
        match self.set_attributes(attributes, all) {
            Err(error) if error.raw_os_error() == Some(libc::ENOSYS) && all => Err(Errno::EOPNOTSUPP.into()),
            Err(error) if error.raw_os_error() == Some(libc::ENOSYS) => self.remount(attributes),
            other => other,
        }
    }

    /// Changes the attributes of the top mount or of all, detached or attached; `ENOSYS` before Linux
    /// 5.12.
    pub fn set_attributes(&self, attributes: Attributes, all: bool) -> io::Result<()> {
        if attributes.is_empty() {
            return Ok(());
        }
        let mut clear = attributes.clear;
        if attributes.set & ACCESS_TIME != 0 {
            // The kernel takes a new access-time mode only when the whole field is cleared first.
            clear |= ACCESS_TIME;
        }
        self.mount_setattr(&MountAttributes { set: attributes.set, clear, ..MountAttributes::default() }, all)
    }

    /// Shows owners of files as a user namespace maps them, in the top mount or in all (Linux 5.12, `ENOSYS`
    /// before). The tree must be detached, and no such namespace is on it yet.
    pub fn set_id_map(&self, user_namespace: BorrowedFd<'_>, all: bool) -> io::Result<()> {
        const ID_MAP: u64 = 0x10_0000;
        let user_namespace = u64::from(user_namespace.as_raw_fd().unsigned_abs());
        self.mount_setattr(
            &MountAttributes { set: ID_MAP, user_namespace, ..MountAttributes::default() },
            all,
        )
    }

    /// Changes how mounts travel from and to this one, or this and all below.
    pub fn set_propagation(&self, propagation: Propagation, all: bool) -> io::Result<()> {
        let flag = propagation.flag();
        let wanted = MountAttributes { propagation: wide(flag.bits()), ..MountAttributes::default() };
        match self.mount_setattr(&wanted, all) {
            Err(error) if error.raw_os_error() == Some(libc::ENOSYS) => {
                let flag = if all { flag | MsFlags::MS_REC } else { flag };
                Ok(nix::mount::mount(NONE, self.proc_path().as_str(), NONE, flag, NONE)?)
            }
            other => other,
        }
    }

    fn mount_setattr(&self, attributes: &MountAttributes, all: bool) -> io::Result<()> {
        let flags = libc::AT_EMPTY_PATH | if all { AT_RECURSIVE } else { 0 };
        // SAFETY: the path is an empty C string; the structure and its size belong together.
        let set = unsafe {
            libc::syscall(
                libc::SYS_mount_setattr,
                self.fd.as_raw_fd(),
                c"".as_ptr(),
                flags,
                attributes as *const MountAttributes,
                size_of::<MountAttributes>(),
            )
        };
        Ok(Errno::result(set).map(drop)?)
    }

    /// Sets attributes of the top mount the old way, keeping those that it has.
    fn remount(&self, attributes: Attributes) -> io::Result<()> {
        let now = wide(nix::sys::statvfs::fstatvfs(&self.fd)?.flags().bits());
        let mut wanted = MsFlags::MS_REMOUNT | MsFlags::MS_BIND;
        for (bit, flag) in OLD_FLAGS {
            let is_set =
                (now & wide(flag.bits()) != 0 && attributes.clear & bit == 0) || attributes.set & bit != 0;
            wanted.set(flag, is_set);
        }
        wanted.set(OLD_NO_SYMLINK_FOLLOW, attributes.set & NO_SYMLINK_FOLLOW != 0);
        Ok(nix::mount::mount(NONE, self.proc_path().as_str(), NONE, wanted, NONE)?)
    }

    /// A name for the old calls. `/proc` is the caller's own, not the container's.
    fn proc_path(&self) -> String {
        format!("/proc/self/fd/{}", self.fd.as_raw_fd())
    }
}

/// Flags of mount(2) beside the bits of `mount_setattr(2)`; statvfs(3) reports the same numbers.
const OLD_FLAGS: [(u64, MsFlags); 6] = [
    (READ_ONLY, MsFlags::MS_RDONLY),
    (NO_SUID, MsFlags::MS_NOSUID),
    (NO_DEV, MsFlags::MS_NODEV),
    (NO_EXEC, MsFlags::MS_NOEXEC),
    (NO_ACCESS_TIME, MsFlags::MS_NOATIME),
    (NO_DIR_ACCESS_TIME, MsFlags::MS_NODIRATIME),
];

/// The one that statvfs(3) reports by another number, if at all (Linux 5.10).
const OLD_NO_SYMLINK_FOLLOW: MsFlags = MsFlags::from_bits_retain(0x100);

const NONE: Option<&str> = None;

impl AsFd for Tree {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.fd.as_fd()
    }
}

impl From<OwnedFd> for Tree {
    /// Takes what is mounted where `fd` refers to; whether that is the top of a mount is found out
    /// when it is changed (`EINVAL`).
    fn from(fd: OwnedFd) -> Self {
        Self { fd }
    }
}

impl From<Tree> for OwnedFd {
    fn from(tree: Tree) -> OwnedFd {
        tree.fd
    }
}

/// A file system that is being configured (fsopen(2)).
#[derive(Debug)]
pub struct NewFilesystem {
    fd: OwnedFd,
}

impl NewFilesystem {
    /// Starts with its type; `ENODEV` when the kernel does not have it.
    pub fn open(kind: &str) -> io::Result<Self> {
        let kind = c_text(kind)?;
        // SAFETY: `kind` is a C string that outlives the call.
        let fd = unsafe { libc::syscall(libc::SYS_fsopen, kind.as_ptr(), FSOPEN_CLOEXEC) };
        Ok(Self { fd: owned(fd)? })
    }

    /// Starts with the one that is mounted on what `target` refers to (fspick(2)).
    pub fn of(target: BorrowedFd<'_>) -> io::Result<Self> {
        let (fd, path) = (target.as_raw_fd(), c"".as_ptr());
        // SAFETY: the path is a C string that outlives the call.
        let fd = unsafe { libc::syscall(libc::SYS_fspick, fd, path, FSPICK_CLOEXEC | FSPICK_EMPTY_PATH) };
        Ok(Self { fd: owned(fd)? })
    }

    /// Puts what was set into force on one that is mounted.
    pub fn reconfigure(self) -> io::Result<()> {
        self.configure(FSCONFIG_CMD_RECONFIGURE, None, None)
    }

    /// Sets a parameter: `key`, or `key=value`. `source` is one as well.
    pub fn set(&self, key: &str, value: Option<&str>) -> io::Result<()> {
        let key = c_text(key)?;
        match value {
            Some(value) => self.configure(FSCONFIG_SET_STRING, Some(&key), Some(&c_text(value)?)),
            None => self.configure(FSCONFIG_SET_FLAG, Some(&key), None),
        }
    }

    /// Makes the file system and a detached mount of it. Only `attributes.set` counts.
    pub fn mount(self, attributes: Attributes) -> io::Result<Tree> {
        self.configure(FSCONFIG_CMD_CREATE, None, None)?;
        // SAFETY: no pointers are passed.
        let fd =
            unsafe { libc::syscall(libc::SYS_fsmount, self.fd.as_raw_fd(), FSMOUNT_CLOEXEC, attributes.set) };
        Ok(Tree { fd: owned(fd)? })
    }

    fn configure(&self, command: u32, key: Option<&CStr>, value: Option<&CStr>) -> io::Result<()> {
        let pointer = |text: Option<&CStr>| text.map_or(std::ptr::null(), CStr::as_ptr);
        // SAFETY: key and value are null or C strings that outlive the call, as each command wants.
        let done = unsafe {
            libc::syscall(libc::SYS_fsconfig, self.fd.as_raw_fd(), command, pointer(key), pointer(value), 0)
        };
        match Errno::result(done) {
            Ok(_) => Ok(()),
            Err(error) => Err(self.explain(error)),
        }
    }

    /// The kernel says in words what it did not like, one message per read.
    fn explain(&self, error: Errno) -> io::Error {
        let mut message = [0; 256];
        // `fd` is only borrowed: the file must not close it.
        let Ok(mut log) = self.fd.try_clone().map(std::fs::File::from) else { return error.into() };
        match log.read(&mut message) {
            Ok(length) if length > 2 => {
                let text = String::from_utf8_lossy(&message[2..length]);
                let kind = io::Error::from(error).kind();
                io::Error::new(kind, format!("{} ({error})", text.trim_end()))
            }
            _ => error.into(),
        }
    }
}

/// Which mount this is in (statx(2), Linux 5.8).
pub fn id(fd: BorrowedFd<'_>) -> io::Result<u64> {
    const STATX_MNT_ID: u32 = 0x1000;
    // SAFETY: a plain C structure, for which all zeros is a value.
    let mut found: libc::statx = unsafe { std::mem::zeroed() };
    let (fd, path) = (fd.as_raw_fd(), c"".as_ptr());
    // SAFETY: `found` and the path outlive the call, and are the only pointers passed.
    let asked = unsafe {
        libc::syscall(libc::SYS_statx, fd, path, libc::AT_EMPTY_PATH, STATX_MNT_ID, &raw mut found)
    };
    Errno::result(asked)?;
    match found.stx_mask & STATX_MNT_ID {
        0 => Err(Errno::ENOSYS.into()),
        _ => Ok(found.stx_mnt_id),
    }
}

/// Mounts the old way on what `target` refers to: for parameters that fsconfig(2) cannot take.
pub fn mount_on(
    target: BorrowedFd<'_>,
    source: &str,
    kind: &str,
    attributes: Attributes,
    data: &str,
) -> io::Result<()> {
    let mut flags = MsFlags::empty();
    for (bit, flag) in OLD_FLAGS {
        flags.set(flag, attributes.set & bit != 0);
    }
    flags.set(OLD_NO_SYMLINK_FOLLOW, attributes.set & NO_SYMLINK_FOLLOW != 0);
    flags.set(MsFlags::MS_STRICTATIME, attributes.set & ACCESS_TIME == STRICT_ACCESS_TIME);
    let path = format!("/proc/self/fd/{}", target.as_raw_fd());
    Ok(nix::mount::mount(Some(source), path.as_str(), Some(kind), flags, Some(data))?)
}

/// Whether what is at `path` is in a mount that other namespaces share (mount_namespaces(7)).
pub fn is_shared(path: &Path) -> io::Result<bool> {
    let file = std::fs::OpenOptions::new().read(true).custom_flags(libc::O_PATH).open(path)?;
    let about = std::fs::read_to_string(format!("/proc/self/fdinfo/{}", file.as_raw_fd()))?;
    let id = about.lines().find_map(|line| line.strip_prefix("mnt_id:")).map(str::trim);
    let mounts = std::fs::read_to_string("/proc/self/mountinfo")?;
    Ok(mounts.lines().any(|line| {
        // Optional fields stand between the sixth and a lone dash.
        let mut fields = line.split(' ');
        fields.next() == id
            && fields.skip(5).take_while(|field| *field != "-").any(|field| field.starts_with("shared:"))
    }))
}

/// Makes every mount of this namespace at or below `path` propagate like this.
pub fn set_propagation(path: &Path, propagation: Propagation, all: bool) -> io::Result<()> {
    let flag = propagation.flag() | if all { MsFlags::MS_REC } else { MsFlags::empty() };
    Ok(nix::mount::mount(NONE, path, NONE, flag, NONE)?)
}

fn copy_flags(recursive: bool) -> u32 {
    OPEN_TREE_CLONE | libc::O_CLOEXEC as u32 | if recursive { AT_RECURSIVE as u32 } else { 0 }
}

fn open_tree(dir: RawFd, path: &CStr, flags: u32) -> io::Result<Tree> {
    // SAFETY: `path` is a C string that outlives the call.
    let fd = unsafe { libc::syscall(libc::SYS_open_tree, dir, path.as_ptr(), flags) };
    Ok(Tree { fd: owned(fd)? })
}

fn move_mount(from: BorrowedFd<'_>, to: BorrowedFd<'_>) -> io::Result<()> {
    const MOVE_MOUNT_F_EMPTY_PATH: u32 = 0x4;
    const MOVE_MOUNT_T_EMPTY_PATH: u32 = 0x40;
    let flags = MOVE_MOUNT_F_EMPTY_PATH | MOVE_MOUNT_T_EMPTY_PATH;
    let empty = c"".as_ptr();
    // SAFETY: both paths are empty C strings: the descriptors themselves are meant.
    let moved =
        unsafe { libc::syscall(libc::SYS_move_mount, from.as_raw_fd(), empty, to.as_raw_fd(), empty, flags) };
    Ok(Errno::result(moved).map(drop)?)
}

fn owned(result: libc::c_long) -> io::Result<OwnedFd> {
    let fd = Errno::result(result)?;
    let fd = RawFd::try_from(fd).map_err(|_| Errno::EBADF)?;
    // SAFETY: callers pass what a system call returned that makes a descriptor, and nobody else has it.
    Ok(unsafe { OwnedFd::from_raw_fd(fd) })
}

/// Flags are `unsigned long`, which is 32 bits wide on some targets.
#[allow(clippy::unnecessary_cast)]
fn wide(flags: libc::c_ulong) -> u64 {
    flags as u64
}

fn c_path(path: &Path) -> io::Result<CString> {
    CString::new(path.as_os_str().as_bytes()).map_err(|_| Errno::EINVAL.into())
}

fn c_text(text: &str) -> io::Result<CString> {
    CString::new(text).map_err(|_| Errno::EINVAL.into())
}

const AT_RECURSIVE: i32 = 0x8000;
const OPEN_TREE_CLONE: u32 = 1;
const FSOPEN_CLOEXEC: u32 = 1;
const FSPICK_CLOEXEC: u32 = 1;
const FSPICK_EMPTY_PATH: u32 = 8;
const FSMOUNT_CLOEXEC: u32 = 1;
const FSCONFIG_SET_FLAG: u32 = 0;
const FSCONFIG_SET_STRING: u32 = 1;
const FSCONFIG_CMD_CREATE: u32 = 6;
const FSCONFIG_CMD_RECONFIGURE: u32 = 7;

/// `struct mount_attr`.
#[repr(C)]
#[derive(Default)]
struct MountAttributes {
    set: u64,
    clear: u64,
    propagation: u64,
    user_namespace: u64,
}

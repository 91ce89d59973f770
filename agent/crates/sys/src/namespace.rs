//! Namespaces: the kinds, joining one that exists, and what a fresh one needs first.

use nix::errno::Errno;
use std::ffi::CStr;
use std::io;
use std::os::fd::{AsRawFd, BorrowedFd, FromRawFd, OwnedFd};
use std::path::Path;

/// A kind of namespace (namespaces(7)).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Kind {
    /// User and group ids, capabilities.
    User,
    /// Process ids.
    Pid,
    /// Mount points.
    Mount,
    /// Network devices, addresses, ports.
    Network,
    /// System V IPC, POSIX message queues.
    Ipc,
    /// Host and domain name.
    Uts,
    /// Root of the cgroup tree that is seen.
    Cgroup,
    /// Monotonic and boot-time clocks.
    Time,
}

impl Kind {
    /// Every kind.
    pub const ALL: [Kind; 8] =
        [Kind::User, Kind::Pid, Kind::Mount, Kind::Network, Kind::Ipc, Kind::Uts, Kind::Cgroup, Kind::Time];

    /// Its `CLONE_NEW*` flag.
    pub fn flag(self) -> i32 {
        match self {
            Kind::User => libc::CLONE_NEWUSER,
            Kind::Pid => libc::CLONE_NEWPID,
            Kind::Mount => libc::CLONE_NEWNS,
            Kind::Network => libc::CLONE_NEWNET,
            Kind::Ipc => libc::CLONE_NEWIPC,
            Kind::Uts => libc::CLONE_NEWUTS,
            Kind::Cgroup => libc::CLONE_NEWCGROUP,
            Kind::Time => 0x80,
        }
    }

    /// Its name below `/proc/PID/ns`.
    pub fn file(self) -> &'static str {
        match self {
            Kind::User => "user",
            Kind::Pid => "pid",
            Kind::Mount => "mnt",
            Kind::Network => "net",
            Kind::Ipc => "ipc",
            Kind::Uts => "uts",
            Kind::Cgroup => "cgroup",
            Kind::Time => "time",
        }
    }
}

/// Opens a namespace by path and checks that it is one, and of this kind. `EINVAL` otherwise.
pub fn open(path: &Path, kind: Kind) -> io::Result<OwnedFd> {
    let fd = OwnedFd::from(std::fs::File::open(path)?);
    match kind_of(&fd) {
        Ok(flag) if flag == kind.flag() => Ok(fd),
        // ENOTTY: not a namespace at all.
        Ok(_) | Err(Errno::ENOTTY) => Err(Errno::EINVAL.into()),
        Err(error) => Err(error.into()),
    }
}

fn kind_of(fd: &OwnedFd) -> Result<i32, Errno> {
    const NS_GET_NSTYPE: libc::c_ulong = 0xb703;
    // SAFETY: this request takes no argument.
    Errno::result(unsafe { libc::ioctl(fd.as_raw_fd(), NS_GET_NSTYPE as _) })
}

/// Joins a namespace. A process-id namespace is joined by the next child, the others at once.
pub fn enter(namespace: BorrowedFd<'_>, kind: Kind) -> io::Result<()> {
    // SAFETY: no pointers are passed.
    let entered = unsafe { libc::setns(namespace.as_raw_fd(), kind.flag()) };
    Ok(Errno::result(entered).map(drop)?)
}

/// Moves into new namespaces, given as `CLONE_NEW*` flags. A process-id or time namespace is for the
/// next child, the others are entered at once.
pub fn unshare(flags: i32) -> io::Result<()> {
    // SAFETY: no pointers are passed. Sharing less cannot break what other code relies on in a
    // process with one thread; with more threads the kernel refuses the kinds where it could.
    Ok(Errno::result(unsafe { libc::unshare(flags) }).map(drop)?)
}

/// Whether the caller is user 0, in the user namespace that the machine began with.
pub fn is_root_of_machine() -> bool {
    const ALL_IDS: [&str; 3] = ["0", "0", "4294967295"];
    let map = || std::fs::read_to_string("/proc/self/uid_map").unwrap_or_default();
    nix::unistd::geteuid().is_root() && map().split_whitespace().eq(ALL_IDS)
}

/// Sets the NIS domain name of the UTS namespace.
pub fn set_domain_name(name: &str) -> io::Result<()> {
    // SAFETY: pointer and length describe `name`; no terminator is needed.
    Ok(Errno::result(unsafe { libc::setdomainname(name.as_ptr().cast(), name.len()) }).map(drop)?)
}

/// Switches on the loopback device of the network namespace; it is down in a new one.
pub fn loopback_up() -> io::Result<()> {
    const NAME: &CStr = c"lo";
    // SAFETY: no pointers are passed.
    let fd = Errno::result(unsafe { libc::socket(libc::AF_INET, libc::SOCK_DGRAM | libc::SOCK_CLOEXEC, 0) })?;
    // SAFETY: the kernel just returned this descriptor.
    let socket = unsafe { OwnedFd::from_raw_fd(fd) };
    // SAFETY: all zeros is a valid value of this plain C structure.
    let mut request: libc::ifreq = unsafe { std::mem::zeroed() };
    for (to, from) in request.ifr_name.iter_mut().zip(NAME.to_bytes()) {
        *to = *from as libc::c_char;
    }
    // IFF_UP alone: the kernel sets IFF_RUNNING itself.
    request.ifr_ifru.ifru_flags = 1;
    // SAFETY: SIOCSIFFLAGS reads an ifreq with name and flags, which `request` is.
    let set = unsafe { libc::ioctl(socket.as_raw_fd(), libc::SIOCSIFFLAGS as _, &raw const request) };
    Ok(Errno::result(set).map(drop)?)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_path_must_lead_to_a_namespace_of_the_right_kind() {
        let of = |file: &str, kind| open(Path::new(file), kind).map(drop).map_err(|e| e.raw_os_error());
        assert_eq!(of("/proc/self/ns/net", Kind::Network), Ok(()));
        assert_eq!(of("/proc/self/ns/net", Kind::Pid), Err(Some(libc::EINVAL)));
        assert_eq!(of("/proc/self/status", Kind::Pid), Err(Some(libc::EINVAL)));
        assert_eq!(of("/proc/self/ns/nothing", Kind::Pid), Err(Some(libc::ENOENT)));
    }
}

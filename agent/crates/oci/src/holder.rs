//! Namespaces begin with a process, and last for as long as somebody has them open.

use edgelet_sys::namespace::{self, Kind};
use edgelet_sys::process::{self, Child};
use nix::fcntl::OFlag;
use std::io;
use std::os::fd::{AsRawFd, OwnedFd};
use std::path::Path;

/// A process that does nothing, in new namespaces. It ends with this, or with whoever made it.
#[derive(Debug)]
pub(crate) struct Holder {
    child: Child,
    _end: OwnedFd,
}

impl Holder {
    /// Starts it in new namespaces of these kinds.
    pub(crate) fn start(kinds: &[Kind]) -> io::Result<Self> {
        let flags = kinds.iter().fold(0, |flags, kind| flags | u64::from(kind.flag().cast_unsigned()));
        let (held, end) = nix::unistd::pipe2(OFlag::O_CLOEXEC)?;
        let its_end = end.as_raw_fd();
        let child = process::spawn(flags, move || {
            // A copy of the number; the owner is in the creator's memory.
            let _ = nix::unistd::close(its_end);
            let _ = nix::unistd::read(held.as_raw_fd(), &mut [0]);
            0
        })?;
        Ok(Self { child, _end: end })
    }

    pub(crate) fn pid(&self) -> i32 {
        self.child.pid()
    }

    /// Opens one of its namespaces.
    pub(crate) fn open(&self, kind: Kind) -> io::Result<OwnedFd> {
        let path = Path::new("/proc").join(self.pid().to_string()).join("ns").join(kind.file());
        namespace::open(&path, kind)
    }
}

impl Drop for Holder {
    fn drop(&mut self) {
        let _ = self.child.signal(libc::SIGKILL);
        // Where children vanish by themselves there is nobody to wait for.
        let _ = self.child.wait();
    }
}

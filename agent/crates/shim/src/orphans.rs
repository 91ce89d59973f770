//! Processes whose parents have ended, in containers that have the host's process ids: there nobody inside
//! inherits and collects them, and each would be a zombie for as long as the container lives.

use edgelet_sys::process::collect_others;
use nix::sys::signal::{SigSet, Signal};
use nix::sys::signalfd::{SfdFlags, SignalFd};
use std::io;
use std::os::fd::{AsFd, BorrowedFd};

/// Tells when there may be one.
pub struct Orphans {
    signals: SignalFd,
    /// The container's first process, which somebody else waits for.
    init: i32,
}

impl Orphans {
    /// To be called with SIGCHLD blocked, by a subreaper.
    pub fn beside(init: i32) -> io::Result<Self> {
        let mut ends = SigSet::empty();
        ends.add(Signal::SIGCHLD);
        let signals = SignalFd::with_flags(&ends, SfdFlags::SFD_CLOEXEC | SfdFlags::SFD_NONBLOCK)?;
        Ok(Self { signals, init })
    }

    /// Collects those that have ended.
    pub fn collect(&self) {
        while let Ok(Some(_)) = self.signals.read_signal() {}
        // When this fails they stay zombies, that is all.
        let _ = collect_others(self.init);
    }
}

impl AsFd for Orphans {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.signals.as_fd()
    }
}

//! Which descriptors a process has, and which of them a program inherits.

use nix::errno::Errno;
use nix::fcntl::{FcntlArg, FdFlag, fcntl};
use std::io;
use std::os::fd::{AsRawFd, BorrowedFd, RawFd};
use std::sync::atomic::{AtomicI32, Ordering};

/// Marks every descriptor from `first` on to be closed when a program is executed.
pub fn close_on_exec_from(first: u32) -> io::Result<()> {
    const CLOSE_RANGE_CLOEXEC: u32 = 4;
    // SAFETY: no pointers are passed, and nothing is closed now.
    let marked = unsafe { libc::syscall(libc::SYS_close_range, first, u32::MAX, CLOSE_RANGE_CLOEXEC) };
    match Errno::result(marked) {
        // The flag is new in Linux 5.11, the call in 5.9.
        Err(Errno::ENOSYS | Errno::EINVAL) => mark_one_by_one(first),
        other => Ok(other.map(drop)?),
    }
}

fn mark_one_by_one(first: u32) -> io::Result<()> {
    for fd in open_from(first)? {
        match fcntl(fd, FcntlArg::F_SETFD(FdFlag::FD_CLOEXEC)) {
            // The directory's own descriptor is among them and is closed by now.
            Ok(_) | Err(Errno::EBADF) => {}
            Err(error) => return Err(error.into()),
        }
    }
    Ok(())
}

/// Closes every descriptor from `first` on, but those in `kept` and the one for messages. For the copy of a process,
/// before it looks at anything of a stranger's: what is open can be walked to, through `/proc/self/fd`, for as long as
/// it is open, and being closed by an exec is too late for the names that the exec itself follows (CVE-2024-21626).
///
/// Whatever else thinks that it owns one of them must never be dropped in this process.
pub fn close_others(first: u32, kept: &[BorrowedFd<'_>]) -> io::Result<()> {
    let kept = kept.iter().map(AsRawFd::as_raw_fd).chain([MESSAGES.load(Ordering::Relaxed)]);
    let mut kept: Vec<u32> = kept.filter_map(|fd| u32::try_from(fd).ok()).filter(|fd| *fd >= first).collect();
    kept.sort_unstable();
    kept.dedup();
    let mut from = first;
    for fd in kept {
        if fd > from {
            close_range(from, fd - 1)?;
        }
        from = fd + 1;
    }
    close_range(from, u32::MAX)
}

/// Has [`close_others`] keep a descriptor that nobody knows to mention: the one that messages go to.
pub fn keep_for_messages(fd: BorrowedFd<'_>) {
    MESSAGES.store(fd.as_raw_fd(), Ordering::Relaxed);
}

static MESSAGES: AtomicI32 = AtomicI32::new(-1);

fn close_range(first: u32, last: u32) -> io::Result<()> {
    // SAFETY: no pointers are passed; that what is closed is not used any more is the caller's promise.
    match Errno::result(unsafe { libc::syscall(libc::SYS_close_range, first, last, 0) }) {
        // The call is new in Linux 5.9, and some sandboxes do not know it.
        Err(Errno::ENOSYS) => {
            let is_meant = |fd: &RawFd| u32::try_from(*fd).is_ok_and(|fd| fd <= last);
            for fd in open_from(first)?.into_iter().filter(is_meant) {
                // The directory's own descriptor is among them and is closed by now.
                let _ = nix::unistd::close(fd);
            }
            Ok(())
        }
        other => Ok(other.map(drop)?),
    }
}

fn open_from(first: u32) -> io::Result<Vec<RawFd>> {
    let mut open = Vec::new();
    for entry in std::fs::read_dir("/proc/self/fd")? {
        let number = entry?.file_name().to_str().and_then(|name| name.parse::<i32>().ok());
        open.extend(number.filter(|fd| u32::try_from(*fd).is_ok_and(|fd| fd >= first)));
    }
    Ok(open)
}

//! Giving up what is waited for.

use std::io;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, RawFd};
use std::sync::atomic::{AtomicI32, Ordering};

/// For as long as this lives, one wait of the process for a descriptor ends with an error when another descriptor
/// becomes readable: just one, so that what was begun can be undone. Children of the process know nothing of it.
#[derive(Debug)]
pub struct Interruption<F: AsFd> {
    _by: F,
}

impl<F: AsFd> Interruption<F> {
    /// Interrupts when `by` is readable. There is one in a process.
    pub fn by(by: F) -> Self {
        WATCHED.store(by.as_fd().as_raw_fd(), Ordering::Relaxed);
        Self { _by: by }
    }
}

impl<F: AsFd> Drop for Interruption<F> {
    fn drop(&mut self) {
        forget();
    }
}

static WATCHED: AtomicI32 = AtomicI32::new(NONE);
const NONE: RawFd = -1;

/// What is to be watched besides.
pub(crate) fn watched() -> Option<BorrowedFd<'static>> {
    let fd = WATCHED.load(Ordering::Relaxed);
    // SAFETY: its owner forgets the number before it closes the descriptor, and is in this process: children forget it
    // at their beginning.
    (fd != NONE).then(|| unsafe { BorrowedFd::borrow_raw(fd) })
}

/// It has happened.
pub(crate) fn interrupted() -> io::Error {
    forget();
    io::Error::new(io::ErrorKind::Interrupted, "given up, because of a signal")
}

pub(crate) fn forget() {
    WATCHED.store(NONE, Ordering::Relaxed);
}

//! Installing a system call filter (seccomp(2)), and handing out the descriptor at which somebody else decides
//! about calls (seccomp_unotify(2)).

use crate::process;
use nix::errno::Errno;
use std::io;
use std::os::fd::{BorrowedFd, RawFd};
use std::sync::atomic::{AtomicI32, Ordering};
use std::time::{Duration, Instant};

/// One instruction of a classic BPF program; the layout of `struct sock_filter`.
#[repr(C)]
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Instruction {
    /// Operation.
    pub code: u16,
    /// How many instructions are skipped when a comparison holds.
    pub jump_true: u8,
    /// How many are skipped when it does not.
    pub jump_false: u8,
    /// Operand.
    pub operand: u32,
}

/// All threads of the process get the filter (`SECCOMP_FILTER_FLAG_TSYNC`).
pub const SYNC_THREADS: u32 = 1;
/// Every refusal is logged by the kernel (`SECCOMP_FILTER_FLAG_LOG`).
pub const LOG: u32 = 2;
/// Speculation is not restricted further (`SECCOMP_FILTER_FLAG_SPEC_ALLOW`).
pub const ALLOW_SPECULATION: u32 = 4;
/// While somebody else decides about a call, only a signal that kills ends the wait
/// (`SECCOMP_FILTER_FLAG_WAIT_KILLABLE_RECV`, Linux 5.19).
pub const WAIT_KILLABLE: u32 = 1 << 5;

/// Puts a filter on the calling thread, for good and for all its children. It needs `no_new_privs` or
/// `CAP_SYS_ADMIN` (`EACCES`). A program that the kernel's checker does not take is `EINVAL`.
pub fn install(program: &[Instruction], flags: u32) -> io::Result<()> {
    match set_filter(program, flags)? {
        0 => Ok(()),
        // With SYNC_THREADS: the id of a thread that could not follow.
        _ => Err(Errno::EBUSY.into()),
    }
}

/// As [`install`], for a filter that has somebody else decide about some calls. `give` gets the descriptor for
/// that, in a process of its own that has no filter: the calling one may have to wait, at its next call
/// already, for whoever gets it. The calling process must have one thread.
pub fn install_notifying(
    program: &[Instruction],
    flags: u32,
    give: impl FnOnce(BorrowedFd<'_>) -> io::Result<()>,
) -> io::Result<()> {
    const NEW_LISTENER: u32 = 1 << 3;
    // Whoever follows says which thread cannot; else the number would be taken for a descriptor.
    const SYNC_THREADS_OR_FAIL: u32 = 1 << 4;
    let flags = flags | NEW_LISTENER | if flags & SYNC_THREADS == 0 { 0 } else { SYNC_THREADS_OR_FAIL };
    let shared = SharedNumber::new()?;
    let helper = process::spawn_with_our_descriptors(|| match shared.wait() {
        // SAFETY: the descriptors are shared with the process that opened this one; it is kept open at least
        // until this process has ended, which that one waits for.
        Some(listener) => i32::from(give(unsafe { BorrowedFd::borrow_raw(listener) }).is_err()),
        None => 1,
    })?;
    // From here on no call is made before the other process knows the number.
    let installed = set_filter(program, flags);
    shared.set(*installed.as_ref().unwrap_or(&-1));
    let end = helper.wait()?;
    // The descriptor stays open until the program is executed: closing it is a call like all others.
    installed?;
    match end.code() {
        0 => Ok(()),
        _ => Err(io::Error::other("the listener could not be handed over")),
    }
}

fn set_filter(program: &[Instruction], flags: u32) -> io::Result<RawFd> {
    const SECCOMP_SET_MODE_FILTER: libc::c_ulong = 1;
    let length = libc::c_ushort::try_from(program.len()).map_err(|_| Errno::EINVAL)?;
    let header = libc::sock_fprog { len: length, filter: program.as_ptr().cast_mut().cast() };
    // SAFETY: `header` describes `program`, whose items have the layout of sock_filter; the kernel
    // reads both during the call and writes neither.
    let installed = unsafe {
        libc::syscall(libc::SYS_seccomp, SECCOMP_SET_MODE_FILTER, flags as libc::c_ulong, &raw const header)
    };
    Ok(RawFd::try_from(Errno::result(installed)?).map_err(|_| Errno::EOVERFLOW)?)
}

/// A number that two processes see, and that is set once, without a call.
struct SharedNumber {
    place: std::ptr::NonNull<AtomicI32>,
}

/// Not a descriptor, and not the -1 of a filter that was refused.
const UNSET: i32 = i32::MIN;

impl SharedNumber {
    fn new() -> io::Result<Self> {
        let (access, kind) = (libc::PROT_READ | libc::PROT_WRITE, libc::MAP_SHARED | libc::MAP_ANONYMOUS);
        // SAFETY: a new mapping anywhere touches no other memory.
        let place = unsafe { libc::mmap(std::ptr::null_mut(), size_of::<AtomicI32>(), access, kind, -1, 0) };
        if place == libc::MAP_FAILED {
            return Err(io::Error::last_os_error());
        }
        let place = std::ptr::NonNull::new(place.cast::<AtomicI32>()).ok_or(Errno::ENOMEM)?;
        let shared = Self { place };
        shared.set(UNSET);
        Ok(shared)
    }

    fn set(&self, number: i32) {
        self.number().store(number, Ordering::SeqCst);
    }

    /// The number when it is a descriptor. It comes within the time of one call, so this only guards against
    /// a process that was killed before it could set it.
    fn wait(&self) -> Option<RawFd> {
        let deadline = Instant::now() + Duration::from_secs(10);
        while Instant::now() < deadline {
            match self.number().load(Ordering::SeqCst) {
                UNSET => std::thread::sleep(Duration::from_micros(50)),
                number => return (number >= 0).then_some(number),
            }
        }
        None
    }

    fn number(&self) -> &AtomicI32 {
        // SAFETY: the mapping is aligned to a page, lives as long as this value (it is never unmapped: an
        // unmapping would be a call), and is only accessed as this atomic number.
        unsafe { self.place.as_ref() }
    }
}

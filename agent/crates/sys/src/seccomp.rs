//! Installing a system call filter (seccomp(2)).

use nix::errno::Errno;
use std::io;

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

/// Puts a filter on the calling thread, for good and for all its children. It needs `no_new_privs` or
/// `CAP_SYS_ADMIN` (`EACCES`). A program that the kernel's checker does not take is `EINVAL`.
pub fn install(program: &[Instruction], flags: u32) -> io::Result<()> {
    const SECCOMP_SET_MODE_FILTER: libc::c_ulong = 1;
    let length = libc::c_ushort::try_from(program.len()).map_err(|_| Errno::EINVAL)?;
    let header = libc::sock_fprog { len: length, filter: program.as_ptr().cast_mut().cast() };
    // SAFETY: `header` describes `program`, whose items have the layout of sock_filter; the kernel
    // reads both during the call and writes neither.
    let installed = unsafe {
        libc::syscall(libc::SYS_seccomp, SECCOMP_SET_MODE_FILTER, flags as libc::c_ulong, &raw const header)
    };
    match Errno::result(installed)? {
        0 => Ok(()),
        // With SYNC_THREADS: the id of a thread that could not follow.
        _ => Err(Errno::EBUSY.into()),
    }
}

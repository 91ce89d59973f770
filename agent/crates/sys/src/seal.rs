//! Keeping the running program out of a container's reach.
//!
//! A container that gets hold of `/proc/PID/exe` of its runtime could reopen the file for writing once
//! the runtime has exited, and own the host with the next start (CVE-2019-5736). The cure is to run
//! from a file that cannot be written: one on a read-only mount, or a sealed copy in memory.

use crate::mount::{Attributes, READ_ONLY, Tree};
use crate::process::memory_file;
use nix::errno::Errno;
use nix::fcntl::{FcntlArg, SealFlag, fcntl};
use nix::sys::statvfs::{FsFlags, fstatvfs};
use std::convert::Infallible;
use std::ffi::{CString, OsString};
use std::fs::File;
use std::io;
use std::os::fd::{AsFd, AsRawFd, OwnedFd};
use std::os::unix::ffi::OsStringExt;
use std::path::Path;

/// Makes sure that the running program cannot be written through `/proc/self/exe`. Where it can be,
/// the program is executed again from a place where it cannot, with `arguments` (its whole `argv`) and
/// the present environment; then this does not return. To be called first thing in `main`.
pub fn seal_program(arguments: &[OsString]) -> io::Result<()> {
    let program = File::open(SELF)?;
    if is_sealed(&program)? {
        return clear_traces(arguments);
    }
    if std::env::var_os(ATTEMPTED).is_some() {
        return Err(io::Error::other("the sealed copy of the program is still writable"));
    }
    let sealed = read_only_view().or_else(|_| memory_copy(program))?;
    match execute(&sealed, arguments)? {}
}

const SELF: &str = "/proc/self/exe";

/// Tells the second run that there was a first, so that a mistake here cannot loop.
const ATTEMPTED: &str = "EDGELET_SEALED";

/// The mark must not reach programs that are started from here, and a program that was executed by
/// descriptor is named after the number until Linux 6.14.
fn clear_traces(arguments: &[OsString]) -> io::Result<()> {
    if std::env::var_os(ATTEMPTED).is_none() {
        return Ok(());
    }
    // SAFETY: this runs first thing in `main`, before there is a second thread that could read it.
    unsafe { std::env::remove_var(ATTEMPTED) };
    let name = arguments.first().map(Path::new).and_then(Path::file_name).unwrap_or_default();
    let name = CString::new(name.as_encoded_bytes()).map_err(|_| Errno::EINVAL)?;
    Ok(nix::sys::prctl::set_name(&name)?)
}

fn is_sealed(program: &File) -> io::Result<bool> {
    if fstatvfs(program.as_fd())?.flags().contains(FsFlags::ST_RDONLY) {
        return Ok(true);
    }
    // Only files in memory have seals; for all others this fails.
    let seals = fcntl(program.as_raw_fd(), FcntlArg::F_GET_SEALS).map(SealFlag::from_bits_truncate);
    Ok(seals.is_ok_and(|seals| seals.contains(SealFlag::F_SEAL_WRITE)))
}

/// The same file through a read-only mount that is in no mount namespace, where nobody can remount it.
fn read_only_view() -> io::Result<OwnedFd> {
    let view = Tree::copy_path(Path::new(SELF), false)?;
    view.set_attributes(Attributes::setting(READ_ONLY), false)?;
    Ok(view.into())
}

fn memory_copy(mut program: File) -> io::Result<OwnedFd> {
    let mut copy = memory_file(c"edgelet-sealed")?;
    io::copy(&mut program, &mut copy)?;
    let seals =
        SealFlag::F_SEAL_WRITE | SealFlag::F_SEAL_GROW | SealFlag::F_SEAL_SHRINK | SealFlag::F_SEAL_SEAL;
    fcntl(copy.as_raw_fd(), FcntlArg::F_ADD_SEALS(seals))?;
    Ok(copy.into())
}

fn execute(program: &OwnedFd, arguments: &[OsString]) -> io::Result<Infallible> {
    let c_string = |text: OsString| CString::new(text.into_vec()).map_err(|_| io::Error::from(Errno::EINVAL));
    let arguments = arguments.iter().cloned().map(c_string).collect::<io::Result<Vec<_>>>()?;
    let environment = std::env::vars_os()
        .chain([(OsString::from(ATTEMPTED), OsString::from("1"))])
        .map(|(mut entry, value)| {
            entry.push("=");
            entry.push(value);
            c_string(entry)
        })
        .collect::<io::Result<Vec<_>>>()?;
    Ok(nix::unistd::fexecve(program.as_raw_fd(), &arguments, &environment)?)
}

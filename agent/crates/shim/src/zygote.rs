//! The process that every shim is a copy of.
//!
//! The daemon cannot be copied: it has threads, and copying the page tables of a large process takes longer than
//! making a container. Starting a program for each container takes longer, too. So there is one small process that
//! has done what all shims need done, and is asked for copies. It ends when the daemon does; its copies do not.

use crate::hold::{self, Inherited};
use edgelet_sys::process;
use edgelet_sys::{seal, socket, title};
use nix::sys::signal::{SigSet, SigmaskHow, sigprocmask};
use std::ffi::{OsStr, OsString};
use std::fs::File;
use std::io;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;
use std::path::Path;
use std::process::ExitCode;
use std::time::Duration;

/// The name by which the program is started as this process.
pub const NAME: &str = "edgelet-shim";
/// How many bytes its one argument has, all of them blanks: room for what ps(1) shows of the copies.
pub const TITLE_BYTES: usize = 256;

/// The longest path of a bundle, in bytes (`PATH_MAX`).
const PATH_BYTES: usize = 4096;
/// How long an answer may take: it needs no more than the copying of a small process.
const ANSWER_LIMIT: Duration = Duration::from_secs(10);

/// Makes shims until the daemon is gone. To be called first thing in `main`, with a message socket to the daemon
/// as descriptor 0.
pub fn main(arguments: Vec<OsString>) -> ExitCode {
    match serve(&arguments) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("<3>{NAME}: started by the daemon only: {error}");
            ExitCode::FAILURE
        }
    }
}

fn serve(arguments: &[OsString]) -> io::Result<()> {
    seal::seal_program(arguments)?;
    let daemon = io::stdin().as_fd().try_clone_to_owned()?;
    // Nothing that is meant for the daemon is meant for these.
    sigprocmask(SigmaskHow::SIG_SETMASK, Some(&SigSet::all()), None)?;
    process::let_children_vanish(true)?;
    while let Some((order, descriptors)) = socket::receive_fds(daemon.as_fd(), PATH_BYTES)? {
        let made = match descriptors.is_empty() {
            true => users(&order),
            false => copy(Path::new(OsStr::from_bytes(&order)), descriptors, daemon.as_fd()),
        };
        match made {
            Ok(made) => socket::send_fds(daemon.as_fd(), b"made", &[made.as_fd()])?,
            Err(error) => socket::send(daemon.as_fd(), error.to_string().as_bytes())?,
        }
    }
    Ok(())
}

/// Makes a user namespace for owners of files. Namespaces begin with a process, and the daemon cannot copy itself.
fn users(order: &[u8]) -> io::Result<OwnedFd> {
    let mut numbers = std::str::from_utf8(order).unwrap_or_default().split(' ').map(str::parse);
    let (Some(Ok(first)), Some(Ok(count)), None) = (numbers.next(), numbers.next(), numbers.next()) else {
        return Err(io::Error::from(io::ErrorKind::InvalidInput));
    };
    edgelet_oci::user_namespace(first, count)
}

/// Makes a shim for the container of this bundle, which inherits the instance lock and the status pipe.
fn copy(bundle: &Path, descriptors: Vec<OwnedFd>, daemon: BorrowedFd<'_>) -> io::Result<OwnedFd> {
    let Ok([lock, status]) = <[OwnedFd; 2]>::try_from(descriptors) else {
        return Err(io::Error::from(io::ErrorKind::InvalidInput));
    };
    let daemon = daemon.as_raw_fd();
    let shim = process::spawn(0, move || {
        // A copy of the number; the owner is in the memory of the process that this is a copy of.
        let _ = nix::unistd::close(daemon);
        let _ = title::set_title(&[OsStr::new(NAME), bundle.as_os_str()]);
        let prepared = process::let_children_vanish(false);
        match prepared.and_then(|()| hold::live(bundle, Inherited::new(lock, File::from(status))?)) {
            Ok(()) => 0,
            // What failed was to report or to write the exit file: the daemon sees a shim that died without a word.
            Err(_) => 1,
        }
    })?;
    Ok(shim.into())
}

/// What the daemon asks with: the bundle, its instance lock, and the pipe for the [`Report`](crate::files::Report).
/// The answer is the shim's process, which nobody has to wait for, or why there is none.
///
/// # Errors
/// When there is nobody to ask, or no answer in time; a shim may have been made all the same.
pub fn ask(
    zygote: BorrowedFd<'_>,
    bundle: &Path,
    lock: BorrowedFd<'_>,
    status: BorrowedFd<'_>,
) -> io::Result<Result<OwnedFd, String>> {
    order(zygote, bundle.as_os_str().as_bytes(), &[lock, status])
}

/// What the daemon asks with for a user namespace, whose ids from 0 on are `count` of the host's from `first` on.
/// Answer and errors are those of [`ask`], but nothing is left behind.
pub fn ask_for_users(zygote: BorrowedFd<'_>, first: u32, count: u32) -> io::Result<Result<OwnedFd, String>> {
    order(zygote, format!("{first} {count}").as_bytes(), &[])
}

fn order(
    zygote: BorrowedFd<'_>,
    text: &[u8],
    descriptors: &[BorrowedFd<'_>],
) -> io::Result<Result<OwnedFd, String>> {
    socket::send_fds(zygote, text, descriptors)?;
    if !process::readable_within(zygote, ANSWER_LIMIT)? {
        return Err(io::ErrorKind::TimedOut.into());
    }
    let answer = socket::receive_fds(zygote, PATH_BYTES)?;
    let (told, mut descriptors) = answer.ok_or(io::ErrorKind::UnexpectedEof)?;
    Ok(descriptors.pop().ok_or_else(|| String::from_utf8_lossy(&told).into_owned()))
}

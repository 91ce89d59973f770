//! Finding the program in the container, from inside, as execvp(3) would.

use crate::error::SpawnError;
use nix::errno::Errno;
use nix::unistd::AccessFlags;
use std::io;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

/// Engines recognise a missing program by these words and report 127.
pub(crate) const NOT_FOUND: &str = "executable file not found";
/// Engines recognise a program that may not be run by these words and report 126.
pub(crate) const DENIED: &str = "permission denied";

/// The path of `name`: as it is when it has a slash, else the first match in the container's `PATH`.
pub(crate) fn find(name: &str, env: &[String]) -> Result<PathBuf, SpawnError> {
    if name.contains('/') {
        let path = PathBuf::from(name);
        return check(&path).map(|()| path).map_err(|error| refused(name, error, ""));
    }
    let search = env.iter().rev().find_map(|entry| entry.strip_prefix("PATH=")).unwrap_or(DEFAULT_PATH);
    let mut denied = None;
    for directory in search.split(':') {
        // An empty entry means the current directory (execvp(3)).
        let path = Path::new(if directory.is_empty() { "." } else { directory }).join(name);
        match check(&path) {
            Ok(()) => return Ok(path),
            Err(error) if error.kind() == io::ErrorKind::PermissionDenied => denied = Some(error),
            Err(_) => {}
        }
    }
    Err(refused(name, denied.unwrap_or(Errno::ENOENT.into()), " in $PATH"))
}

const DEFAULT_PATH: &str = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";

fn check(path: &Path) -> io::Result<()> {
    let found = std::fs::metadata(path)?;
    // Root may access everything, but even root executes no directory and nothing without an x bit.
    match found.is_file() && found.mode() & 0o111 != 0 {
        true => Ok(nix::unistd::access(path, AccessFlags::X_OK)?),
        false => Err(Errno::EACCES.into()),
    }
}

/// Puts an error of the look-up, or of execve(2), into the words that engines know.
pub(crate) fn refused(name: &str, error: io::Error, place: &str) -> SpawnError {
    let words = match error.kind() {
        io::ErrorKind::NotFound | io::ErrorKind::NotADirectory => format!("{NOT_FOUND}{place}"),
        io::ErrorKind::PermissionDenied => DENIED.to_owned(),
        _ => "cannot be executed".to_owned(),
    };
    SpawnError::Step { step: format!("exec {name:?}: {words}"), source: error }
}

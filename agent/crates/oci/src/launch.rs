//! The last steps before a program runs, shared by the first process of a container and by exec.

use crate::config::Config;
use crate::error::{During, SpawnError};
use crate::executable;
use crate::program::Program;
use crate::seccomp::{Filter, Introduction};
use edgelet_sys::procfs::Procfs;
use nix::errno::Errno;
use nix::unistd::Uid;
use std::convert::Infallible;
use std::ffi::{CString, OsString};
use std::io::{self, Read};
use std::os::fd::BorrowedFd;
use std::os::unix::ffi::OsStringExt;
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

/// A program that was found, with everything prepared that can fail early.
#[derive(Debug)]
pub(crate) struct Launch {
    /// Absent where the configuration names no program.
    path: Option<PathBuf>,
    arguments: Vec<CString>,
    environment: Vec<CString>,
    /// For labels, if there are any; to be opened while there are rights to.
    procfs: Option<Procfs>,
}

impl Launch {
    /// Goes to the working directory and finds the program. The calling process sees the container's
    /// files already, and still has all its rights.
    pub(crate) fn prepare(program: &Program) -> Result<Self, SpawnError> {
        enter_directory(&program.cwd).during(format!("change to {}", program.cwd.display()))?;
        let mut env = program.env.clone();
        if !env.iter().any(|entry| entry.starts_with("HOME=")) {
            env.push(format!("HOME={}", home_of(program.identity.uid)));
        }
        Ok(Self {
            path: program.args.first().map(|name| executable::find(name, &env)).transpose()?,
            arguments: c_strings(&program.args)?,
            environment: c_strings(&env)?,
            procfs: (!program.labels.is_empty()).then(Procfs::open).transpose().during("open procfs")?,
        })
    }

    /// Gives up what the program may not have, and becomes it. `last` runs as the program would.
    ///
    /// The order is that of the kernel's rules: a filter may be set by whoever cannot gain privileges
    /// any more, or else only with a capability that the program may not have. So the filter comes
    /// last with `no_new_privs`, and before the capabilities go without it.
    pub(crate) fn run(
        self,
        program: &Program,
        filter: Option<Guarded<'_>>,
        last: impl FnOnce() -> Result<(), SpawnError>,
    ) -> Result<Infallible, SpawnError> {
        self.become_user(program, filter.as_ref())?;
        last()?;
        forgo_privileges(program, filter.as_ref())?;
        self.execute(program)
    }

    /// All of it but the end: where somebody else decides about calls, who is told so before the container is created.
    pub(crate) fn settle(&self, program: &Program, filter: &Guarded<'_>) -> Result<(), SpawnError> {
        self.become_user(program, Some(filter))?;
        forgo_privileges(program, Some(filter))
    }

    /// The end.
    pub(crate) fn execute(self, program: &Program) -> Result<Infallible, SpawnError> {
        let (Some(path), Some(name)) = (self.path, program.args.first()) else {
            return Err(io::Error::other("the configuration has no process")).during("exec");
        };
        let path = CString::new(path.into_os_string().into_vec()).map_err(io::Error::from).during("exec")?;
        let error = nix::unistd::execve(&path, &self.arguments, &self.environment);
        // The file was there when this was prepared.
        let place = ": the interpreter that its first line names, or its loader, is not in the container";
        error.map_err(|error| executable::refused(name, error.into(), place))
    }

    fn become_user(&self, program: &Program, filter: Option<&Guarded<'_>>) -> Result<(), SpawnError> {
        own_pipes(program.identity.uid).during("hand over standard streams")?;
        // As much as can be before there is a filter, which may forbid it.
        set_umask(program.umask);
        self.procfs.as_ref().map_or(Ok(()), |procfs| program.labels.set(procfs))?;
        program.identity.assume(|| {
            // As the new user; where that one may not enter, the directory entered before stays. A filter may forbid
            // to look where one is.
            match enter_directory(&program.cwd) {
                Err(error) if error.kind() != io::ErrorKind::PermissionDenied => {
                    return Err(error).during(format!("change to {}", program.cwd.display()));
                }
                _ => {}
            }
            match filter.filter(|_| !program.no_new_privileges) {
                Some(filter) => filter.install(),
                None => Ok(()),
            }
        })
    }
}

fn forgo_privileges(program: &Program, filter: Option<&Guarded<'_>>) -> Result<(), SpawnError> {
    if !program.no_new_privileges {
        return Ok(());
    }
    nix::sys::prctl::set_no_new_privs().during("set no_new_privs")?;
    filter.map_or(Ok(()), Guarded::install)
}

/// A filter, with what there is to be said about it.
#[derive(Debug)]
pub(crate) struct Guarded<'a> {
    pub(crate) filter: &'a Filter,
    /// There is one when somebody else decides about calls.
    pub(crate) introduction: Option<&'a Introduction>,
    /// The process's own id, as its creator knows it.
    pub(crate) pid: i32,
}

impl Guarded<'_> {
    fn install(&self) -> Result<(), SpawnError> {
        let give = |listener: BorrowedFd<'_>| match self.introduction {
            Some(introduction) => introduction.make(self.pid, listener),
            None => Err(Errno::ENOTCONN.into()),
        };
        self.filter.install(give).during("install seccomp filter")
    }
}

/// The same as the new process does, where its user is known outside by another number: from inside a pipe of somebody
/// outside cannot be given away.
pub(crate) fn hand_over_streams(config: &Config, program: &Program) -> Result<(), SpawnError> {
    match config.namespaces.maps().uid_outside(program.identity.uid) {
        // With a terminal, the streams are not the caller's.
        Some(uid) if nix::unistd::geteuid().is_root() && !program.terminal => {
            own_pipes(uid).during("hand over standard streams")
        }
        _ => Ok(()),
    }
}

/// Gives pipes among the standard streams to the program's user: programs reopen them by name, as
/// `/dev/stdout`, and only the owner may.
fn own_pipes(uid: u32) -> io::Result<()> {
    for stream in 0..=2 {
        let stat = match nix::sys::stat::fstat(stream) {
            Err(Errno::EBADF) => continue,
            other => other?,
        };
        if stat.st_mode & libc::S_IFMT != libc::S_IFIFO || stat.st_uid == uid {
            continue;
        }
        match nix::unistd::fchown(stream, Some(Uid::from_raw(uid)), None) {
            // From a user namespace a pipe of somebody outside cannot be given away, nor to somebody unknown.
            Err(Errno::EPERM | Errno::EINVAL) => {}
            other => other?,
        }
    }
    Ok(())
}

/// Sets the mode bits that new files do not get, 0 to 0o777, and gives those of before.
pub(crate) fn set_umask(bits: u32) -> u32 {
    nix::sys::stat::umask(nix::sys::stat::Mode::from_bits_truncate(bits)).bits()
}

/// Changes directory and makes sure that the new one is inside the root: a descriptor from outside,
/// reached through `/proc/self/fd`, would not be (CVE-2024-21626).
fn enter_directory(path: &Path) -> io::Result<()> {
    nix::unistd::chdir(path)?;
    match nix::unistd::getcwd() {
        Ok(inside) if inside.is_absolute() => Ok(()),
        // "(unreachable)/…", or nothing at all for a directory that was removed.
        _ => Err(io::Error::other("the directory is outside the container's root")),
    }
}

/// The home directory from the container's `/etc/passwd`, or `/`. The file is the image's: a bounded
/// part of it is read, and only if it is a plain file.
fn home_of(uid: u32) -> String {
    const LIMIT: u64 = 1 << 20;
    let read = || -> io::Result<String> {
        let file = std::fs::OpenOptions::new()
            .read(true)
            .custom_flags(libc::O_NONBLOCK | libc::O_NOCTTY)
            .open("/etc/passwd")?;
        let mut bytes = Vec::new();
        if file.metadata()?.is_file() {
            file.take(LIMIT).read_to_end(&mut bytes)?;
        }
        Ok(String::from_utf8_lossy(&bytes).into_owned())
    };
    read().ok().and_then(|passwd| home_in(&passwd, uid)).unwrap_or_else(|| "/".to_owned())
}

/// passwd(5): name, password, uid, gid, comment, home, shell.
fn home_in(passwd: &str, uid: u32) -> Option<String> {
    passwd.lines().find_map(|line| {
        let fields: Vec<&str> = line.split(':').collect();
        let matches = fields.get(2)?.parse() == Ok(uid);
        fields.get(5).filter(|home| matches && home.starts_with('/')).map(|home| (*home).to_owned())
    })
}

fn c_strings(texts: &[String]) -> Result<Vec<CString>, SpawnError> {
    let convert = |text: &String| CString::new(OsString::from(text).into_vec());
    texts.iter().map(convert).collect::<Result<_, _>>().map_err(io::Error::from).during("arguments")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn home_is_that_of_the_number_not_of_a_name() {
        let passwd =
            "0:x:7:7::/wrong:/bin/sh\nroot:x:0:0:root:/root:/bin/sh\nbad\nuser:x:10:10::relative:/bin/sh\n";
        assert_eq!(home_in(passwd, 0).as_deref(), Some("/root"));
        assert_eq!(home_in(passwd, 7).as_deref(), Some("/wrong"));
        assert_eq!(home_in(passwd, 10), None);
        assert_eq!(home_in(passwd, 11), None);
    }
}

//! Shims, by way of the small process that they are copies of.

use edgelet_shim::zygote::{self, NAME, TITLE_BYTES};
use edgelet_sys::socket;
use edgelet_types::{Fault, Reason};
use std::fs::File;
use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::sync::{Mutex, PoisonError};

/// That process. One that has ended, for whatever reason, is replaced when it is needed.
pub struct Zygote {
    process: Mutex<Process>,
}

struct Process {
    child: Child,
    socket: OwnedFd,
}

impl Zygote {
    /// Starts the process.
    pub fn start() -> io::Result<Self> {
        Ok(Self { process: Mutex::new(Process::start()?) })
    }

    /// Makes a user namespace for owners of files, whose ids from 0 on are `count` of the host's from `first` on.
    pub fn make_users(&self, first: u32, count: u32) -> Result<OwnedFd, Fault> {
        let made = self.ask("make a user namespace", |zygote| zygote::ask_for_users(zygote, first, count))?;
        made.map_err(|told| Fault::new(Reason::CreateFailed, told))
    }

    /// Makes a shim for the container of this bundle, which has the lock and the status pipe from then on.
    pub fn make_shim(&self, bundle: &Path, lock: File, status: io::PipeWriter) -> Result<OwnedFd, Fault> {
        let made =
            self.ask("ask for a shim", |zygote| zygote::ask(zygote, bundle, lock.as_fd(), status.as_fd()))?;
        made.map_err(|told| Fault::new(Reason::CreateFailed, told).context("start the shim"))
    }

    fn ask<T>(
        &self,
        doing: &'static str,
        question: impl FnOnce(BorrowedFd<'_>) -> io::Result<T>,
    ) -> Result<T, Fault> {
        let mut process = self.process.lock().unwrap_or_else(PoisonError::into_inner);
        process.be_there().map_err(|error| failed("start what shims are copies of", &error))?;
        question(process.socket.as_fd()).map_err(|error| {
            // Whether it made one is not known, so it is not asked again; and nobody must come late.
            let _ = process.child.kill().and_then(|()| process.child.wait());
            failed(doing, &error)
        })
    }
}

impl Process {
    /// Starts this same program under the shim's name.
    fn start() -> io::Result<Self> {
        let (socket, theirs) = socket::message_pair()?;
        let child = Command::new("/proc/self/exe")
            .arg0(NAME)
            .arg(" ".repeat(TITLE_BYTES))
            .env_clear()
            .current_dir("/")
            .stdin(Stdio::from(theirs))
            .stdout(Stdio::null())
            .spawn()?;
        Ok(Self { child, socket })
    }

    fn be_there(&mut self) -> io::Result<()> {
        if let Some(status) = self.child.try_wait()? {
            log::warn!("what shims are copies of is started again, it ended: {status}");
            *self = Self::start()?;
        }
        Ok(())
    }
}

fn failed(doing: &'static str, error: &io::Error) -> Fault {
    Fault::chain(Reason::of_storage(error, Reason::CreateFailed), error).context(doing)
}

//! The life of a shim, from the order to the exit file.

use crate::files::{self, Order, Report};
use crate::fork::in_a_fork;
use crate::journal::Journal;
use crate::orphans::Orphans;
use crate::relay::Relay;
use edgelet_oci::{CreateOptions, Id, Runtime};
use edgelet_sys::durable::publish_volatile;
use edgelet_sys::process::{Child, End, start_time};
use edgelet_types::instance::Exit;
use edgelet_types::{Fault, Reason, UnixMillis};
use nix::fcntl::{FcntlArg, OFlag, fcntl, open};
use nix::sys::signal::{SigSet, SigmaskHow, sigprocmask};
use nix::sys::stat::Mode;
use nix::unistd::{dup2, pipe2, setsid};
use std::fs::File;
use std::io::{self, Write};
use std::os::fd::{AsFd, AsRawFd, OwnedFd};
use std::path::Path;
use std::time::{SystemTime, UNIX_EPOCH};

/// Holds the container of this bundle, from the order to the exit file.
pub(crate) fn live(bundle: &Path, inherited: Inherited) -> io::Result<()> {
    detach()?;
    let held = publish_pid(bundle).map_err(failed("write the shim's id")).and_then(|()| {
        let order = read_order(bundle).map_err(failed("read the order"))?;
        hold(bundle, &order, &inherited)
    });
    match held {
        Ok(exit) => publish_volatile(bundle, files::EXIT, &serde_json::to_vec(&exit)?, 0o600),
        Err(fault) => inherited.report(&Report::Failed(fault)),
    }
    // The instance lock goes with this process, and not before: see the crate's first invariant.
}

/// What the daemon handed over.
pub(crate) struct Inherited {
    status: File,
    /// Held for as long as this process lives.
    _lock: OwnedFd,
}

impl Inherited {
    /// Takes both over, and lets go of the standard streams, which are somebody else's.
    pub(crate) fn new(lock: OwnedFd, status: File) -> io::Result<Self> {
        let null = open("/dev/null", OFlag::O_RDWR | OFlag::O_CLOEXEC, Mode::empty())?;
        for standard in 0..=2 {
            dup2(null, standard)?;
        }
        nix::unistd::close(null)?;
        Ok(Self { status, _lock: lock })
    }

    fn report(&self, report: &Report) -> io::Result<()> {
        let mut line = serde_json::to_vec(report)?;
        line.push(b'\n');
        match (&self.status).write_all(&line) {
            // The daemon died meanwhile; the next one reads the files.
            Err(error) if error.kind() == io::ErrorKind::BrokenPipe => Ok(()),
            result => result,
        }
    }
}

/// Leaves the daemon's session, is deaf to signals, and inherits orphans.
fn detach() -> io::Result<()> {
    // Fails for a session leader, which is what this is to achieve.
    let _ = setsid();
    sigprocmask(SigmaskHow::SIG_SETMASK, Some(&SigSet::all()), None)?;
    Ok(nix::sys::prctl::set_child_subreaper(true)?)
}

fn publish_pid(bundle: &Path) -> io::Result<()> {
    let pid = std::process::id();
    let started = start_time(pid.cast_signed())?.ok_or(io::ErrorKind::NotFound)?;
    publish_volatile(bundle, files::SHIM_PID, format!("{pid} {started}").as_bytes(), 0o600)
}

fn read_order(bundle: &Path) -> io::Result<Order> {
    Ok(serde_json::from_slice(&std::fs::read(bundle.join(files::ORDER))?)?)
}

/// Starts the container and holds it until nothing of it runs any more.
fn hold(bundle: &Path, order: &Order, inherited: &Inherited) -> Result<Exit, Fault> {
    let journal = Journal::open(&order.log_dir, order.log_limit).map_err(failed("open the log"))?;
    let (stdout, stdout_end) = pipe().map_err(failed("make a pipe"))?;
    let (stderr, stderr_end) = pipe().map_err(failed("make a pipe"))?;
    let mut relay = Relay::new(stdout, stderr, journal);
    let pid = start(bundle, order, [stdout_end, stderr_end], &mut relay)?;
    let announce = || {
        let (init, orphans) = (Child::adopt(pid)?, Orphans::beside(pid)?);
        publish_volatile(bundle, files::INIT_PID, pid.to_string().as_bytes(), 0o600)?;
        inherited.report(&Report::Started { pid: pid.unsigned_abs() })?;
        Ok((init, orphans))
    };
    let (init, orphans) = announce().map_err(failed("announce the container")).inspect_err(|_| {
        // Nobody would know of it; whatever else goes wrong now, the daemon's removal tells.
        let _ = clean_up(order);
    })?;
    relay.until_readable(init.as_fd(), Some(&orphans));
    let end = init.wait().map_err(failed("wait for the container"))?;
    let (oom_killed, fault) = match clean_up(order) {
        Ok(oom_killed) => (oom_killed, None),
        Err(fault) => (false, Some(fault)),
    };
    relay.drain();
    let signal = match end {
        End::Exited(_) => None,
        End::Killed(signal) => Some(signal),
    };
    Ok(Exit { code: end.code(), signal, oom_killed, at: wall_clock(), fault })
}

/// A pipe whose read end does not block. The write end does: a program with a non-blocking stdout loses
/// output.
fn pipe() -> io::Result<(OwnedFd, OwnedFd)> {
    let (read, write) = pipe2(OFlag::O_CLOEXEC)?;
    fcntl(read.as_raw_fd(), FcntlArg::F_SETFL(OFlag::O_NONBLOCK))?;
    Ok((read, write))
}

/// Creates and starts the container in a fork that ends afterwards: what the work needed of memory goes
/// with it, and this process inherits the container. Gives the first process's id.
fn start(bundle: &Path, order: &Order, output: [OwnedFd; 2], relay: &mut Relay) -> Result<i32, Fault> {
    let [stdout, stderr] = output;
    let pid = in_a_fork(relay, || {
        dup2(stdout.as_raw_fd(), 1).and(dup2(stderr.as_raw_fd(), 2)).map_err(|error| {
            Fault::chain(Reason::CreateFailed, &io::Error::from(error)).context("hand over the output")
        })?;
        let options = CreateOptions::new(Id::from(&order.container), bundle);
        Ok(Runtime::new(&order.runtime_root).run(&options)?.pid)
    });
    // The container has the other ends now; with ours open the streams would never end.
    drop((stdout, stderr));
    pid
}

/// Ends whatever else runs in the container and takes its cgroup and state away. Says whether the kernel
/// had killed something of it for want of memory.
///
/// Not in a fork: what it needs of memory goes with this process, which ends soon.
fn clean_up(order: &Order) -> Result<bool, Fault> {
    let runtime = Runtime::new(&order.runtime_root);
    let id = Id::from(&order.container);
    let oom_killed = runtime.oom_killed(&id).unwrap_or(false);
    runtime.delete(&id, true)?;
    Ok(oom_killed)
}

fn failed(doing: &'static str) -> impl Fn(io::Error) -> Fault {
    move |error| Fault::chain(Reason::of_storage(&error, Reason::CreateFailed), &error).context(doing)
}

fn wall_clock() -> UnixMillis {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    UnixMillis(i64::try_from(since.as_millis()).unwrap_or(i64::MAX))
}

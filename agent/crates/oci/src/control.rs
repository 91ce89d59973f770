//! Looking at containers, signalling, pausing and deleting them.

use crate::Id;
use crate::error::{ControlError, During, SpawnError};
use crate::hooks::{self, Moment};
use crate::record::{self, Entry, Record};
use crate::runtime::{Runtime, State, Status};
use edgelet_sys::process;
use std::os::fd::AsFd;
use std::time::Duration;

/// See [`Runtime::state`].
pub(crate) fn state(runtime: &Runtime, id: &Id) -> Result<State, ControlError> {
    let entry = Entry::new(runtime.root(), id);
    let record = entry.read()?;
    let (status, pid) = entry.status(&record)?;
    Ok(record.state(status, pid))
}

/// See [`Runtime::list`].
pub(crate) fn list(runtime: &Runtime) -> Result<Vec<State>, ControlError> {
    let mut states = Vec::new();
    for id in record::ids(runtime.root()).during("read state root")? {
        match state(runtime, &id) {
            Ok(state) => states.push(state),
            // Deleted meanwhile, or not yet written.
            Err(ControlError::NotFound(_)) => {}
            Err(error) => log::warn!("left out of the list: {error}"),
        }
    }
    Ok(states)
}

/// See [`Runtime::kill`].
pub(crate) fn kill(runtime: &Runtime, id: &Id, signal: i32, all: bool) -> Result<(), ControlError> {
    let entry = Entry::new(runtime.root(), id);
    let record = entry.read()?;
    if all {
        return kill_all(&entry, &record, id, signal);
    }
    match record.open_init().during("open init")? {
        Some((_, process)) => {
            Ok(process::pidfd_signal(process.as_fd(), signal).during(format!("send signal {signal}"))?)
        }
        None => Err(ControlError::NotRunning(id.clone())),
    }
}

/// Where processes are the host's own, others may go on when the first has ended.
fn kill_all(entry: &Entry, record: &Record, id: &Id, signal: i32) -> Result<(), ControlError> {
    let processes = record.cgroup(id)?.processes().during("read cgroup")?;
    if processes.is_empty() && entry.status(record)?.0 == Status::Stopped {
        return Err(ControlError::NotRunning(id.clone()));
    }
    for pid in processes {
        let sent =
            process::pidfd_open(pid).and_then(|process| process::pidfd_signal(process.as_fd(), signal));
        match sent {
            Err(error) if error.raw_os_error() != Some(libc::ESRCH) => {
                Err(error).during(format!("signal {pid}"))?
            }
            _ => {}
        }
    }
    Ok(())
}

/// See [`Runtime::pause`] and [`Runtime::resume`].
pub(crate) fn freeze(runtime: &Runtime, id: &Id, frozen: bool) -> Result<(), ControlError> {
    let entry = Entry::new(runtime.root(), id);
    let _held = entry.hold()?;
    let record = entry.read()?;
    let (wanted, verb) = match frozen {
        true => (&[Status::Running, Status::Created][..], "pause"),
        false => (&[Status::Paused][..], "resume"),
    };
    match entry.status(&record)?.0 {
        status if wanted.contains(&status) => Ok(record.cgroup(id)?.freeze(frozen)?),
        status => Err(ControlError::WrongState { id: id.clone(), status, verb }),
    }
}

/// See [`Runtime::processes`].
pub(crate) fn processes(runtime: &Runtime, id: &Id) -> Result<Vec<i32>, ControlError> {
    let record = Entry::new(runtime.root(), id).read()?;
    Ok(record.cgroup(id)?.processes().during("read cgroup")?)
}

/// See [`Runtime::oom_killed`].
pub(crate) fn oom_killed(runtime: &Runtime, id: &Id) -> Result<bool, ControlError> {
    let record = Entry::new(runtime.root(), id).read()?;
    Ok(record.cgroup(id)?.oom_killed().during("read cgroup")?)
}

/// See [`Runtime::delete`].
pub(crate) fn delete(runtime: &Runtime, id: &Id, force: bool) -> Result<(), ControlError> {
    let entry = Entry::new(runtime.root(), id);
    match delete_held(&entry, id, force) {
        Err(ControlError::NotFound(_)) if force => Ok(()),
        other => other,
    }
}

fn delete_held(entry: &Entry, id: &Id, force: bool) -> Result<(), ControlError> {
    let _held = entry.hold()?;
    let record = match entry.read() {
        Ok(record) => record,
        // A creator that was killed before it wrote anything, or a record that nobody understands.
        Err(ControlError::NotFound(_) | ControlError::Record { .. }) if force => {
            return Ok(entry.remove().during("remove state")?);
        }
        Err(error) => return Err(error),
    };
    match entry.status(&record)?.0 {
        Status::Stopped | Status::Created => {}
        // This process holds the lock, so whoever was creating it is gone.
        Status::Creating => {}
        _ if force => {}
        status => return Err(ControlError::WrongState { id: id.clone(), status, verb: "delete" }),
    }
    end(&record)?;
    record.cgroup(id)?.remove()?;
    // Failures only warn (OCI runtime-spec 1.3, runtime.md, "Lifecycle" 13).
    let hooks = record.config(id).map(|config| {
        let state = record.state(Status::Stopped, 0);
        hooks::run(config.spec.hooks().as_ref(), Moment::Poststop, &state)
    });
    if let Ok(Err(error)) = hooks {
        log::warn!("{error}");
    }
    Ok(entry.remove().during("remove state")?)
}

/// How long a process may take to die of SIGKILL; more means that it is stuck in the kernel.
const DEATH_LIMIT: Duration = Duration::from_secs(10);

fn end(record: &Record) -> Result<(), SpawnError> {
    let Some((init, process)) = record.open_init().during("open init")? else { return Ok(()) };
    match process::pidfd_signal(process.as_fd(), libc::SIGKILL) {
        Err(error) if error.raw_os_error() != Some(libc::ESRCH) => return Err(error).during("kill init"),
        _ => {}
    }
    match record::ended_within(&process, DEATH_LIMIT).during("wait for init")? {
        true => Ok(()),
        false => Err(std::io::Error::from(std::io::ErrorKind::TimedOut))
            .during(format!("wait for the end of {}", init.pid)),
    }
}

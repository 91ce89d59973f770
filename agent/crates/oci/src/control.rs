//! Looking at containers, signalling, pausing and deleting them.

use crate::Id;
use crate::cgroup::{Cgroup, Statistics};
use crate::create::DEATH_LIMIT;
use crate::error::{ControlError, During, SpawnError};
use crate::hooks::{self, Moment};
use crate::record::{self, Entry, Init, Record, Remains};
use crate::runtime::{Runtime, State, Status};
use crate::spec::Resources;
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
    for id in record::ids(runtime.root()).during(format!("read state root {}", runtime.root().display()))? {
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
    let cgroup = record.cgroup(id)?;
    // Without a group nobody knows who else there is.
    if all && cgroup.has_groups() {
        return kill_all(&entry, &record, id, signal);
    }
    let Some((_, process)) = record.open_init().during("open init")? else {
        return Err(ControlError::NotRunning(id.clone()));
    };
    process::pidfd_signal(process.as_fd(), signal).during(format!("send signal {signal}"))?;
    Ok(let_die(&cgroup, signal)?)
}

/// A frozen process dies only when it is resumed (version 1; version 2 does so by itself).
fn let_die(cgroup: &Cgroup, signal: i32) -> Result<(), SpawnError> {
    match signal == libc::SIGKILL && cgroup.is_frozen() {
        true => cgroup.freeze(false),
        false => Ok(()),
    }
}

/// Where processes are the host's own, others may go on when the first has ended.
fn kill_all(entry: &Entry, record: &Record, id: &Id, signal: i32) -> Result<(), ControlError> {
    let cgroup = record.cgroup(id)?;
    let signalled = cgroup.signal(signal).during(format!("send signal {signal}"))?;
    if signalled == 0 && entry.status(record)?.0 == Status::Stopped {
        return Err(ControlError::NotRunning(id.clone()));
    }
    Ok(let_die(&cgroup, signal)?)
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
    // Who comes into it just now has to be in, or would be caught halfway.
    let _quiet = frozen.then(|| entry.keep_out()).transpose()?;
    match entry.status(&record)?.0 {
        status if wanted.contains(&status) => Ok(record.existing_cgroup(id)?.freeze(frozen)?),
        status => Err(ControlError::WrongState { id: id.clone(), status, verb }),
    }
}

/// See [`Runtime::processes`].
pub(crate) fn processes(runtime: &Runtime, id: &Id) -> Result<Vec<i32>, ControlError> {
    let record = Entry::new(runtime.root(), id).read()?;
    Ok(record.existing_cgroup(id)?.processes().during("read cgroup")?)
}

/// See [`Runtime::oom_killed`].
pub(crate) fn oom_killed(runtime: &Runtime, id: &Id) -> Result<bool, ControlError> {
    let record = Entry::new(runtime.root(), id).read()?;
    Ok(record.cgroup(id)?.oom_killed().during("read cgroup")?)
}

/// See [`Runtime::update`].
pub(crate) fn update(runtime: &Runtime, id: &Id, limits: &Resources) -> Result<(), ControlError> {
    let entry = Entry::new(runtime.root(), id);
    let _held = entry.hold()?;
    let record = entry.read()?;
    match entry.status(&record)?.0 {
        Status::Stopped => return Err(ControlError::NotRunning(id.clone())),
        status @ Status::Creating => {
            return Err(ControlError::WrongState { id: id.clone(), status, verb: "update" });
        }
        Status::Created | Status::Running | Status::Paused => {}
    }
    // On version 2 further rules for devices could only narrow those in force, and callers repeat them.
    let mut limits = Resources { devices: None, ..limits.clone() };
    limits.pids = limits.pids.filter(|pids| pids.limit != Some(0));
    Ok(record.existing_cgroup(id)?.change(&limits)?)
}

/// See [`Runtime::statistics`].
pub(crate) fn statistics(runtime: &Runtime, id: &Id) -> Result<Statistics, ControlError> {
    Ok(Entry::new(runtime.root(), id).read()?.existing_cgroup(id)?.statistics())
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
        // A creator that was killed before it made anything.
        Err(ControlError::NotFound(_)) if force => return Ok(entry.remove().during("remove state")?),
        // A record that nobody understands, of a container that may run.
        Err(error @ ControlError::Record { .. }) if force => {
            let Some(Remains { cgroup, init }) = entry.remains() else { return Err(error) };
            log::warn!("{error}; what is in {} ends", cgroup.path().display());
            end(init, &cgroup)?;
            cgroup.remove()?;
            return Ok(entry.remove().during("remove state")?);
        }
        Err(error) => return Err(error),
    };
    // Who has seen the program's last words may be faster than its end.
    if !force
        && !entry.socket().exists()
        && let Some((_, process)) = record.open_init().during("open init")?
    {
        record::ended_within(&process, LAST_WORDS).during("wait for init")?;
    }
    match entry.status(&record)?.0 {
        Status::Stopped | Status::Created => {}
        // This process holds the lock, so whoever was creating it is gone.
        Status::Creating => {}
        _ if force => {}
        status => return Err(ControlError::WrongState { id: id.clone(), status, verb: "delete" }),
    }
    let cgroup = record.cgroup(id)?;
    end(record.init, &cgroup)?;
    cgroup.remove()?;
    match entry.spec() {
        Ok(spec) => hooks::run_all(spec.hooks.as_ref(), Moment::Poststop, &record.state(Status::Stopped, 0)),
        Err(error) => log::warn!("poststop hooks are left out: {error}"),
    }
    Ok(entry.remove().during("remove state")?)
}

/// How long a delete without force waits for the end of a program.
const LAST_WORDS: Duration = Duration::from_millis(100);

fn end(init: Option<Init>, cgroup: &Cgroup) -> Result<(), SpawnError> {
    let opened = init.map_or(Ok(None), Init::open).during("open init")?;
    let Some((init, process)) = opened else { return Ok(()) };
    match process::pidfd_signal(process.as_fd(), libc::SIGKILL) {
        Err(error) if error.raw_os_error() != Some(libc::ESRCH) => return Err(error).during("kill init"),
        _ => {}
    }
    let_die(cgroup, libc::SIGKILL)?;
    match record::ended_within(&process, DEATH_LIMIT).during("wait for init")? {
        true => Ok(()),
        false => Err(std::io::Error::from(std::io::ErrorKind::TimedOut))
            .during(format!("wait for the end of {}", init.pid)),
    }
}

//! Letting a created container's program run.

use crate::Id;
use crate::channel::Channel;
use crate::create::{DEATH_LIMIT, STEP_LIMIT};
use crate::error::{ControlError, During, InitFailure, SpawnError, StartError};
use crate::hooks::{self, Moment};
use crate::record::{self, Entry};
use crate::runtime::{Runtime, State, Status};
use edgelet_sys::{process, socket};
use oci_spec::runtime::Hooks;
use std::fs;
use std::os::fd::AsFd;

/// See [`Runtime::start`].
pub(crate) fn start(runtime: &Runtime, id: &Id) -> Result<(), StartError> {
    let entry = Entry::new(runtime.root(), id);
    let _held = entry.hold()?;
    let record = entry.read()?;
    match entry.status(&record)?.0 {
        Status::Created => {}
        status => return Err(ControlError::WrongState { id: id.clone(), status, verb: "start" }.into()),
    }
    let spec = entry.spec()?;
    if spec.process.is_none() {
        let message = "there is no process to start".to_owned();
        return Err(StartError::Init(InitFailure { message, errno: None }));
    }
    let hooks = spec.hooks.as_ref();
    let Some((init, process)) = record.open_init().during("open init").map_err(ControlError::from)? else {
        return Err(ControlError::NotRunning(id.clone()).into());
    };

    let connection =
        socket::connect_messages(&entry.socket()).during("reach init").map_err(ControlError::from)?;
    // From here on it is no longer a created container. Should this process be cut now, init finds
    // the connection closed, and ends.
    fs::remove_file(entry.socket()).during("remove start socket").map_err(ControlError::from)?;
    let channel = Channel::over(connection);
    begin(&channel, &process, hooks, &record.state(Status::Running, init.pid))
}

/// Lets the process at the other end become the program, whose state is then the given one.
///
/// # Errors
/// The process has ended.
pub(crate) fn begin(
    channel: &Channel,
    process: &impl AsFd,
    hooks: Option<&Hooks>,
    state: &State,
) -> Result<(), StartError> {
    channel.go().map_err(ControlError::from)?;
    match channel.next(STEP_LIMIT + hooks::limit(hooks, Moment::StartContainer)) {
        // The connection is closed by the exec, and by the end of a process that has not come so far.
        Ok(None) => executed(state.pid)?,
        Ok(Some(report)) => {
            end(process);
            return Err(ControlError::Step {
                step: "start".to_owned(),
                source: std::io::Error::other(format!("init reported {report:?}")),
            }
            .into());
        }
        Err(error) => {
            end(process);
            return Err(match error {
                SpawnError::Init(failure) => StartError::Init(failure),
                other => ControlError::from(other).into(),
            });
        }
    }
    if let Err(error) = hooks::run(hooks, Moment::Poststart, state) {
        end(process);
        return Err(StartError::Hook(error.to_string()));
    }
    Ok(())
}

/// Makes sure that the process has become the program, which the kernel notes before it closes the connection. One
/// that is gone altogether had somebody to wait for it, who knows how it ended.
fn executed(pid: i32) -> Result<(), StartError> {
    match process::has_executed(pid).during("look at init").map_err(ControlError::from)? {
        Some(false) => {
            let message = "it ended before its program was executed".to_owned();
            Err(StartError::Init(InitFailure { message, errno: None }))
        }
        Some(true) | None => Ok(()),
    }
}

fn end(process: &impl AsFd) {
    // It may be gone already; and it is the earlier failure that the caller must hear.
    let _ = process::pidfd_signal(process.as_fd(), libc::SIGKILL);
    let _ = record::ended_within(process, DEATH_LIMIT);
}

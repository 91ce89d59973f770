//! Running hooks (OCI runtime-spec 1.3, config.md, "POSIX-platform Hooks").

use crate::error::SpawnError;
use crate::runtime::State;
use edgelet_sys::process;
use nix::sys::signal::{Signal, killpg};
use nix::unistd::Pid;
use oci_spec::runtime::{Hook, Hooks};
use std::fs::File;
use std::io::{self, Read, Seek, Write};
use std::os::fd::AsFd;
use std::os::unix::process::{CommandExt, ExitStatusExt};
use std::process::{Command, Stdio};
use std::time::Duration;

/// The six moments.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Moment {
    Prestart,
    CreateRuntime,
    CreateContainer,
    StartContainer,
    Poststart,
    Poststop,
}

impl Moment {
    /// The field of the configuration.
    fn name(self) -> &'static str {
        match self {
            Moment::Prestart => "prestart",
            Moment::CreateRuntime => "createRuntime",
            Moment::CreateContainer => "createContainer",
            Moment::StartContainer => "startContainer",
            Moment::Poststart => "poststart",
            Moment::Poststop => "poststop",
        }
    }

    #[allow(deprecated)] // prestart is deprecated and still what some engines use.
    fn of(self, hooks: &Hooks) -> &[Hook] {
        let list = match self {
            Moment::Prestart => hooks.prestart(),
            Moment::CreateRuntime => hooks.create_runtime(),
            Moment::CreateContainer => hooks.create_container(),
            Moment::StartContainer => hooks.start_container(),
            Moment::Poststart => hooks.poststart(),
            Moment::Poststop => hooks.poststop(),
        };
        list.as_deref().unwrap_or_default()
    }
}

/// Checks every hook before anything is touched; the answer is what is wrong.
pub(crate) fn check(hooks: Option<&Hooks>) -> Result<(), String> {
    let Some(hooks) = hooks else { return Ok(()) };
    for moment in ALL {
        for hook in moment.of(hooks) {
            if !hook.path().is_absolute() {
                return Err(format!("hooks.{}: path {:?} must be absolute", moment.name(), hook.path()));
            }
            if hook.timeout().is_some_and(|seconds| !(1..=LONGEST_TIMEOUT).contains(&seconds)) {
                let name = moment.name();
                return Err(format!("hooks.{name}: timeout must be 1 to {LONGEST_TIMEOUT} seconds"));
            }
        }
    }
    Ok(())
}

const ALL: [Moment; 6] = [
    Moment::Prestart,
    Moment::CreateRuntime,
    Moment::CreateContainer,
    Moment::StartContainer,
    Moment::Poststart,
    Moment::Poststop,
];

/// Whether anybody has to wait while the creator runs hooks.
pub(crate) fn are_run_by_creator(hooks: Option<&Hooks>) -> bool {
    let moments = [Moment::Prestart, Moment::CreateRuntime];
    hooks.is_some_and(|hooks| moments.iter().any(|moment| !moment.of(hooks).is_empty()))
}

/// Runs the hooks of a moment in order, in the calling process's namespaces; stops at the first that
/// fails. They have no environment but their own.
pub(crate) fn run(hooks: Option<&Hooks>, moment: Moment, state: &State) -> Result<(), SpawnError> {
    run_with(hooks, moment, state, &[])
}

/// Runs all the hooks of a moment at which nothing can be stopped any more. Failures only warn (OCI runtime-spec 1.3,
/// runtime.md, "Lifecycle").
pub(crate) fn run_all(hooks: Option<&Hooks>, moment: Moment, state: &State) {
    for hook in hooks.map(|hooks| moment.of(hooks)).unwrap_or_default() {
        if let Err(reason) = run_one(hook, moment, state, &[]) {
            log::warn!("{} hook {}: {reason}", moment.name(), hook.path().display());
        }
    }
}

/// The same as [`run`] with an environment for those that have none of their own.
pub(crate) fn run_with(
    hooks: Option<&Hooks>,
    moment: Moment,
    state: &State,
    env: &[String],
) -> Result<(), SpawnError> {
    for hook in hooks.map(|hooks| moment.of(hooks)).unwrap_or_default() {
        run_one(hook, moment, state, env).map_err(|reason| {
            SpawnError::Hook(format!("{} hook {}: {reason}", moment.name(), hook.path().display()))
        })?;
    }
    Ok(())
}

/// How long the hooks of a moment may take together.
pub(crate) fn limit(hooks: Option<&Hooks>, moment: Moment) -> Duration {
    hooks.map(|hooks| moment.of(hooks)).unwrap_or_default().iter().map(timeout).sum()
}

/// What a hook without a timeout gets: the specification sets no limit, and we wait for nothing for ever.
const NO_TIMEOUT: Duration = Duration::from_secs(600);
/// The longest that may be asked for, in seconds: a day.
const LONGEST_TIMEOUT: i64 = 86_400;
/// How much of what a failed hook wrote goes into the error, in bytes.
const OUTPUT_LIMIT: u64 = 1024;

fn timeout(hook: &Hook) -> Duration {
    hook.timeout().and_then(|seconds| u64::try_from(seconds).ok()).map_or(NO_TIMEOUT, Duration::from_secs)
}

fn run_one(hook: &Hook, moment: Moment, state: &State, env: &[String]) -> Result<(), String> {
    let text = |error: io::Error| error.to_string();
    // Files, not pipes: a hook that does not read, or writes much, cannot block us.
    let mut input = process::memory_file(c"state").map_err(text)?;
    serde_json::to_writer(&mut input, state).map_err(|error| error.to_string())?;
    input.flush().and_then(|()| input.rewind()).map_err(text)?;
    let mut output = process::memory_file(c"output").map_err(text)?;

    let mut command = Command::new(hook.path());
    let mut args = hook.args().iter().flatten();
    if let Some(name) = args.next() {
        command.arg0(name);
    }
    // Where other runtimes have them, and hooks come to rely on it. The others see the container's files.
    if !matches!(moment, Moment::CreateContainer | Moment::StartContainer) && state.bundle.is_dir() {
        command.current_dir(&state.bundle);
    }
    command.args(args).env_clear();
    let env = hook.env().as_deref().unwrap_or(env);
    command.envs(env.iter().filter_map(|entry| entry.split_once('=')));
    command.stdin(input).stdout(clone(&output)?).stderr(clone(&output)?);
    // What it starts ends with it, where it is killed; and what this process collects is not for it.
    command.process_group(0);
    process::with_default_signals(&mut command);

    let mut child = command.spawn().map_err(text)?;
    let pid = i32::try_from(child.id()).map_err(|error| error.to_string())?;
    let ended = process::pidfd_open(pid).and_then(|fd| process::readable_within(fd.as_fd(), timeout(hook)));
    if !matches!(ended, Ok(true)) {
        // It may have ended by itself.
        let _ = killpg(Pid::from_raw(pid), Signal::SIGKILL);
        child.wait().map_err(text)?;
        ended.map_err(text)?;
        return Err(format!("killed after {} s", timeout(hook).as_secs()));
    }
    let status = child.wait().map_err(text)?;
    let how = match (status.code(), status.signal()) {
        (Some(0), _) => return Ok(()),
        (Some(code), _) => format!("exit code {code}"),
        (None, Some(signal)) => format!("signal {signal}"),
        (None, None) => "ended strangely".to_owned(),
    };
    let mut said = Vec::new();
    output.rewind().and_then(|()| output.take(OUTPUT_LIMIT).read_to_end(&mut said)).map_err(text)?;
    Err(match String::from_utf8_lossy(&said).trim() {
        "" => how,
        said => format!("{how}: {said}"),
    })
}

fn clone(file: &File) -> Result<Stdio, String> {
    file.try_clone().map(Stdio::from).map_err(|error| error.to_string())
}

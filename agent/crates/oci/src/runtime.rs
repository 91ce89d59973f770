//! The verbs: what callers do to containers.

use crate::cgroup::Statistics;
use crate::error::{ControlError, CreateError, ExecError, RunError, StartError};
use crate::options::{CreateOptions, ExecOptions};
use crate::spec::Resources;
use crate::{Id, control, create, exec, start};
use serde::Serialize;
use std::collections::HashMap;
use std::fmt;
use std::io;
use std::path::{Path, PathBuf};

/// All containers whose state is below one directory.
///
/// Every method blocks. The methods that fork ([`create`](Self::create), [`run`](Self::run), [`exec`](Self::exec), and
/// those that run hooks) need a calling process with one thread.
#[derive(Debug, Clone)]
pub struct Runtime {
    root: PathBuf,
}

impl Runtime {
    /// The containers below `root`: a directory on a memory file system, made when it is first needed,
    /// mode 0700.
    pub fn new(root: impl Into<PathBuf>) -> Self {
        Self { root: root.into() }
    }

    /// The directory with the state.
    pub fn root(&self) -> &Path {
        &self.root
    }

    /// Makes a container up to the point where its program could be executed, and waits there.
    ///
    /// The program will have the caller's standard streams, unless it gets a terminal. Its process is
    /// a child of the calling one and outlives it: when the caller exits, the nearest subreaper
    /// (`PR_SET_CHILD_SUBREAPER`) inherits and must wait for it.
    ///
    /// # Errors
    /// Nothing is left of the container, and the same id can be used again.
    pub fn create(&self, options: &CreateOptions) -> Result<State, CreateError> {
        create::create(self, options)
    }

    /// Lets the program of a created container run. Any process may call this, not just its creator.
    ///
    /// # Errors
    /// When the program could not be executed the container is stopped, and still to be deleted.
    pub fn start(&self, id: &Id) -> Result<(), StartError> {
        start::start(self, id)
    }

    /// [`create`](Self::create) and [`start`](Self::start) in one, with the same hooks at the same moments. Nobody
    /// else can start it in between, which saves what that needs.
    ///
    /// # Errors
    /// Nothing is left of the container, and the same id can be used again.
    pub fn run(&self, options: &CreateOptions) -> Result<State, RunError> {
        create::run(self, options)
    }

    /// What is true of a container now.
    pub fn state(&self, id: &Id) -> Result<State, ControlError> {
        control::state(self, id)
    }

    /// Every container, in order of id. Records that cannot be read are logged and left out.
    pub fn list(&self) -> Result<Vec<State>, ControlError> {
        control::list(self)
    }

    /// Sends a signal to the first process, or with `all` to every process of the container.
    pub fn kill(&self, id: &Id, signal: i32, all: bool) -> Result<(), ControlError> {
        control::kill(self, id, signal, all)
    }

    /// Removes what is left of a stopped container, or of a created one, which is killed first.
    /// With `force` a running one is killed too, and one that does not exist is fine.
    pub fn delete(&self, id: &Id, force: bool) -> Result<(), ControlError> {
        control::delete(self, id, force)
    }

    /// Suspends every process of a container.
    pub fn pause(&self, id: &Id) -> Result<(), ControlError> {
        control::freeze(self, id, true)
    }

    /// Lets a paused container go on.
    pub fn resume(&self, id: &Id) -> Result<(), ControlError> {
        control::freeze(self, id, false)
    }

    /// The host process ids of everything in a container.
    pub fn processes(&self, id: &Id) -> Result<Vec<i32>, ControlError> {
        control::processes(self, id)
    }

    /// Whether the kernel killed a process of the container for want of memory. Known until it is deleted.
    pub fn oom_killed(&self, id: &Id) -> Result<bool, ControlError> {
        control::oom_killed(self, id)
    }

    /// Sets limits of a container that has not ended; what is not named stays as it is, and so do the rules for
    /// devices. A number of processes of 0 is none that is named.
    ///
    /// # Errors
    /// Limits are set one by one: those before the one that was refused are in force.
    pub fn update(&self, id: &Id, limits: &Resources) -> Result<(), ControlError> {
        control::update(self, id, limits)
    }

    /// What a container has used so far.
    pub fn statistics(&self, id: &Id) -> Result<Statistics, ControlError> {
        control::statistics(self, id)
    }

    /// Starts a further process in a running container. It has the caller's standard streams unless
    /// it gets a terminal, and is a child of the caller, as with [`create`](Self::create). When this
    /// returns the program has been executed.
    pub fn exec(&self, id: &Id, options: &ExecOptions) -> Result<Process, ExecError> {
        exec::exec(self, id, options)
    }
}

/// What a container is doing (OCI runtime-spec 1.3, runtime.md, "State").
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Status {
    /// It is being made.
    Creating,
    /// It waits to be started.
    Created,
    /// Its program runs.
    Running,
    /// Its program is suspended; an extension that all engines know.
    Paused,
    /// Its program has ended.
    Stopped,
}

impl fmt::Display for Status {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Status::Creating => "creating",
            Status::Created => "created",
            Status::Running => "running",
            Status::Paused => "paused",
            Status::Stopped => "stopped",
        })
    }
}

/// The state of a container, in the shape that the specification gives it as JSON.
#[derive(Debug, Clone, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct State {
    /// The specification's version.
    pub oci_version: String,
    /// Which container.
    pub id: String,
    /// What it is doing.
    pub status: Status,
    /// The host process id of its first process; 0 when there is none.
    pub pid: i32,
    /// The absolute path of the bundle.
    pub bundle: PathBuf,
    /// From the configuration.
    #[serde(skip_serializing_if = "HashMap::is_empty")]
    pub annotations: HashMap<String, String>,
    /// When it was created, as RFC 3339; not in the specification, but tools read it.
    pub created: String,
}

/// A process that was started; a child of the caller.
#[derive(Debug)]
pub struct Process {
    handle: edgelet_sys::process::Child,
}

impl Process {
    pub(crate) fn new(handle: edgelet_sys::process::Child) -> Self {
        Self { handle }
    }

    /// Its host process id.
    pub fn pid(&self) -> i32 {
        self.handle.pid()
    }

    /// Waits until it ends: its exit code, or 128 plus the signal.
    pub fn wait(self) -> io::Result<i32> {
        self.handle.wait().map(|end| end.code())
    }
}

impl From<Process> for edgelet_sys::process::Child {
    fn from(process: Process) -> Self {
        process.handle
    }
}

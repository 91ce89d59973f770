//! Why a verb failed. One enum per family of verbs; each knows its stable reason code.

use crate::Id;
use edgelet_types::{Fault, Reason};
use std::io;

/// Why no container was created. Nothing of it is left when this is returned.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum CreateError {
    /// The configuration is not valid.
    #[error("config.json: {0}")]
    Config(String),
    /// The configuration asks for something that this runtime does not do.
    #[error("{field} is not supported")]
    NotSupported {
        /// The field, as a path into `config.json`, and its value where that matters.
        field: String,
    },
    /// The id is taken.
    #[error("container {0} already exists")]
    Exists(Id),
    /// The calling process has more than one thread, or the machine lacks what is needed.
    #[error("{0}")]
    Environment(String),
    /// A step failed in the calling process.
    #[error("{step}")]
    Step {
        /// What was being done.
        step: String,
        /// What the kernel said.
        source: io::Error,
    },
    /// The new process failed while it set itself up.
    #[error("container init: {0}")]
    Init(InitFailure),
    /// A hook failed.
    #[error("{0}")]
    Hook(String),
    /// The control group could not be made or limited.
    #[error("cgroup: {0}")]
    Cgroup(String),
}

/// Why a created container was not started. It is stopped when this is returned, unless it was not in
/// the created state to begin with.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum StartError {
    /// It cannot be found or its state does not allow a start.
    #[error(transparent)]
    Control(#[from] ControlError),
    /// The program could not be executed, or a step just before it failed.
    #[error("container init: {0}")]
    Init(InitFailure),
    /// A hook failed; the container was killed.
    #[error("{0}")]
    Hook(String),
}

/// Why a container that was to run at once does not. Nothing of it is left when this is returned.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum RunError {
    /// It could not be created.
    #[error(transparent)]
    Create(#[from] CreateError),
    /// It was created and could not be started.
    #[error(transparent)]
    Start(#[from] StartError),
}

/// Why no further process was started.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ExecError {
    /// The container cannot be found or is not running.
    #[error(transparent)]
    Control(#[from] ControlError),
    /// The description of the process is not valid or asks for too much.
    #[error("process: {0}")]
    Invalid(String),
    /// The process asks for something that this runtime does not do.
    #[error("{field} is not supported")]
    NotSupported {
        /// The field, as a path into the process.
        field: String,
    },
    /// A step failed in the calling process.
    #[error("{step}")]
    Step {
        /// What was being done.
        step: String,
        /// What the kernel said.
        source: io::Error,
    },
    /// The new process failed while it set itself up.
    #[error("exec: {0}")]
    Init(InitFailure),
    /// It could not join the control group.
    #[error("cgroup: {0}")]
    Cgroup(String),
}

/// Why a container could not be looked at, signalled, paused or deleted.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ControlError {
    /// There is no such container.
    #[error("container does not exist: {0}")]
    NotFound(Id),
    /// Its process has ended.
    #[error("container not running: {0}")]
    NotRunning(Id),
    /// Its state does not allow this.
    #[error("container {id} is {status}: cannot {verb}")]
    WrongState {
        /// Which container.
        id: Id,
        /// What it is.
        status: crate::Status,
        /// What was asked.
        verb: &'static str,
    },
    /// Another verb holds the container for too long.
    #[error("container {0} is busy")]
    Busy(Id),
    /// Its record cannot be understood; a newer version wrote it, or it is damaged.
    #[error("state of container {id}: {reason}")]
    Record {
        /// Which container.
        id: Id,
        /// What is wrong.
        reason: String,
    },
    /// A step failed.
    #[error("{step}")]
    Step {
        /// What was being done.
        step: String,
        /// What the kernel said.
        source: io::Error,
    },
    /// The control group could not be read, frozen or removed.
    #[error("cgroup: {0}")]
    Cgroup(String),
}

/// What a process that was becoming a container's program said before it gave up.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{message}")]
pub struct InitFailure {
    /// The chain of what was being done.
    pub message: String,
    /// The kernel's error number, where one was the cause.
    pub errno: Option<i32>,
}

/// What failed on the caller's side of a new process, before it is said which verb it was.
#[derive(Debug, thiserror::Error)]
pub(crate) enum SpawnError {
    #[error("{step}")]
    Step { step: String, source: io::Error },
    #[error("{0}")]
    Init(InitFailure),
    #[error("{0}")]
    Hook(String),
    #[error("cgroup: {0}")]
    Cgroup(String),
}

/// Adds what was being done to an error of the kernel.
pub(crate) trait During<T> {
    fn during(self, step: impl Into<String>) -> Result<T, SpawnError>;
}

impl<T, E: Into<io::Error>> During<T> for Result<T, E> {
    fn during(self, step: impl Into<String>) -> Result<T, SpawnError> {
        self.map_err(|error| SpawnError::Step { step: step.into(), source: error.into() })
    }
}

impl From<SpawnError> for CreateError {
    fn from(error: SpawnError) -> Self {
        match error {
            SpawnError::Step { step, source } => Self::Step { step, source },
            SpawnError::Init(failure) => Self::Init(failure),
            SpawnError::Hook(message) => Self::Hook(message),
            SpawnError::Cgroup(message) => Self::Cgroup(message),
        }
    }
}

impl From<SpawnError> for ExecError {
    fn from(error: SpawnError) -> Self {
        match error {
            SpawnError::Step { step, source } => Self::Step { step, source },
            SpawnError::Init(failure) => Self::Init(failure),
            // No hook belongs to an exec.
            SpawnError::Hook(message) => {
                Self::Step { step: "run a hook".to_owned(), source: io::Error::other(message) }
            }
            SpawnError::Cgroup(message) => Self::Cgroup(message),
        }
    }
}

impl From<SpawnError> for ControlError {
    fn from(error: SpawnError) -> Self {
        match error {
            SpawnError::Step { step, source } => Self::Step { step, source },
            SpawnError::Cgroup(message) => Self::Cgroup(message),
            // These verbs start no process, and their hooks only warn.
            SpawnError::Init(InitFailure { message, .. }) | SpawnError::Hook(message) => {
                Self::Step { step: "unexpected answer".to_owned(), source: io::Error::other(message) }
            }
        }
    }
}

impl From<ControlError> for CreateError {
    fn from(error: ControlError) -> Self {
        match error {
            ControlError::Step { step, source } => Self::Step { step, source },
            ControlError::Cgroup(message) => Self::Cgroup(message),
            ControlError::Busy(id) => Self::Exists(id),
            other => Self::Environment(other.to_string()),
        }
    }
}

impl CreateError {
    /// The stable reason.
    pub fn reason(&self) -> Reason {
        match self {
            Self::Config(_) => Reason::InvalidInput,
            Self::NotSupported { .. } => Reason::NotSupported,
            Self::Exists(_) => Reason::Conflict,
            Self::Environment(_) => Reason::Internal,
            Self::Init(failure) => failure.reason(Reason::CreateFailed),
            Self::Step { source, .. } => Reason::of_storage(source, Reason::CreateFailed),
            Self::Hook(_) | Self::Cgroup(_) => Reason::CreateFailed,
        }
    }
}

impl StartError {
    /// The stable reason.
    pub fn reason(&self) -> Reason {
        match self {
            Self::Control(error) => error.reason(),
            Self::Init(failure) => failure.reason(Reason::StartFailed),
            Self::Hook(_) => Reason::StartFailed,
        }
    }
}

impl RunError {
    /// The stable reason.
    pub fn reason(&self) -> Reason {
        match self {
            Self::Create(error) => error.reason(),
            Self::Start(error) => error.reason(),
        }
    }
}

impl ExecError {
    /// The stable reason.
    pub fn reason(&self) -> Reason {
        match self {
            Self::Control(error) => error.reason(),
            Self::Invalid(_) => Reason::InvalidInput,
            Self::NotSupported { .. } => Reason::NotSupported,
            Self::Init(failure) => failure.reason(Reason::StartFailed),
            Self::Step { source, .. } => Reason::of_storage(source, Reason::StartFailed),
            Self::Cgroup(_) => Reason::StartFailed,
        }
    }
}

impl ControlError {
    /// The stable reason.
    pub fn reason(&self) -> Reason {
        match self {
            Self::NotFound(_) => Reason::NotFound,
            Self::NotRunning(_) | Self::WrongState { .. } => Reason::Conflict,
            Self::Busy(_) => Reason::Conflict,
            Self::Step { source, .. } => Reason::of_storage(source, Reason::Internal),
            Self::Record { .. } | Self::Cgroup(_) => Reason::Internal,
        }
    }
}

impl InitFailure {
    /// A program that is not there or may not be run needs another configuration; the rest may pass.
    fn reason(&self, otherwise: Reason) -> Reason {
        match self.message.contains(crate::executable::NOT_FOUND)
            || self.message.contains(crate::executable::DENIED)
        {
            true => Reason::InvalidInput,
            false => match self.errno.map(io::Error::from_raw_os_error) {
                Some(error) => Reason::of_storage(&error, otherwise),
                None => otherwise,
            },
        }
    }
}

macro_rules! into_fault {
    ($($error:ty),*) => {$(
        impl From<$error> for Fault {
            fn from(error: $error) -> Fault {
                Fault::chain(error.reason(), &error)
            }
        }
    )*};
}

into_fault!(CreateError, StartError, RunError, ExecError, ControlError);

//! Programs that somebody runs in a container beside its own.

use edgelet_types::Fault;
use std::os::fd::OwnedFd;

/// What to run.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ExecRequest {
    /// The program and its arguments. The program is looked up in the container's `PATH` when it has no
    /// slash. Never empty.
    pub command: Vec<String>,
    /// With a terminal of this size, or with pipes. With a terminal, `TERM` is `xterm-256color` unless the
    /// workload sets it.
    pub terminal: Option<TerminalSize>,
    /// Whether there is a standard input; otherwise it is `/dev/null`. A terminal always has one.
    pub stdin: bool,
}

/// The size of a terminal in characters.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct TerminalSize {
    /// Characters in a row.
    pub columns: u16,
    /// Rows.
    pub rows: u16,
}

impl Default for TerminalSize {
    fn default() -> Self {
        Self { columns: 80, rows: 24 }
    }
}

/// A program that has been started. Dropping it leaves the program running without anybody to talk to,
/// which ends most; [`ExecControl::kill`] ends all.
pub struct Exec {
    /// Its input and output.
    pub io: ExecIo,
    /// Becomes readable when the program has ended: a pidfd, or the read end of a pipe that is closed
    /// then.
    pub ended: OwnedFd,
    /// What else can be done with it.
    pub control: Box<dyn ExecControl>,
}

/// Input and output of a program. The descriptors are made non-blocking by who receives them, so they
/// must be pipes or terminals of which no other process shares the open file description.
#[derive(Debug)]
pub enum ExecIo {
    /// The master side of its terminal.
    Terminal(OwnedFd),
    /// Pipes.
    Pipes {
        /// Its standard input is read from here; absent when none was wanted.
        stdin: Option<OwnedFd>,
        /// What it writes to standard output.
        stdout: OwnedFd,
        /// What it writes to standard error.
        stderr: OwnedFd,
    },
}

/// What can be done with a running program. The calls are quick.
pub trait ExecControl: Send + 'static {
    /// Sets the size of its terminal. Without a terminal nothing happens.
    fn resize(&mut self, size: TerminalSize) -> Result<(), Fault>;

    /// Kills the program. Not an error when it has ended already.
    fn kill(&mut self);

    /// How it ended: the exit code, or 128 + the signal. Called once, when [`Exec::ended`] is readable.
    fn exit_code(&mut self) -> Result<i32, Fault>;
}

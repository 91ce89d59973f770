//! `ms exec`: a program in a workload, with this terminal or these pipes as its own.
//!
//! One thread waits for everything at once: the daemon, standard input, and signals. What cannot be sent
//! yet stops the reading of standard input, so nothing piles up.

use super::{Context, text};
use crate::exit::{Failure, INTERNAL};
use crate::terminal::{self, RawMode};
use edgelet_api::client::{Attached, Client, ClientError, Incoming};
use edgelet_api::error::Code;
use edgelet_api::wire::{ErrorBody, ExecFrame, ExecSession, ExecSessionRequest};
use edgelet_types::Reason;
use nix::errno::Errno;
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sys::signal::{SigSet, Signal};
use nix::sys::signalfd::{SfdFlags, SignalFd};
use std::io::{self, IsTerminal, Write, stderr, stdin, stdout};
use std::os::fd::{AsFd, AsRawFd};

/// How much standard input is read and sent at a time; a frame may carry 64 KiB.
const CHUNK_BYTES: usize = 16 << 10;

/// What is tried when no command is named, in this order.
const SHELLS: &[&[&str]] = &[&["bash"], &["sh"], &["ash"], &["busybox", "sh"]];

/// Runs the program; its exit code is ours.
pub(super) fn run(context: &Context, id: &str, command: Vec<String>) -> Result<u8, Failure> {
    let client = context.client();
    let tty = stdin().is_terminal();
    // Before the program starts, so that no change of the window is missed.
    let signals = signals(tty).map_err(|error| internal("watch signals", error))?;
    let session = start(&client, id, command, tty)?;
    let attached = client.attach(&session)?;
    let raw = tty.then(RawMode::enter).transpose().map_err(|error| internal("raw mode", error))?;
    let code = converse(attached, &signals);
    // The terminal is itself again before anything is told about the end.
    drop(raw);
    Ok(u8::try_from(code? & 0xff).unwrap_or(INTERNAL))
}

/// Changes of the window, and with a raw terminal what would end us without putting it back.
fn signals(tty: bool) -> Result<SignalFd, Errno> {
    let mut set = SigSet::empty();
    set.add(Signal::SIGWINCH);
    if tty {
        set.add(Signal::SIGTERM);
        set.add(Signal::SIGHUP);
        set.add(Signal::SIGINT);
    }
    set.thread_block()?;
    SignalFd::with_flags(&set, SfdFlags::SFD_CLOEXEC | SfdFlags::SFD_NONBLOCK)
}

fn start(client: &Client, id: &str, command: Vec<String>, tty: bool) -> Result<ExecSession, Failure> {
    // The first answer says whether there is such a workload; later ones only whether there is a shell.
    let workload = client.microservice(id)?;
    let id = text(&workload, "uuid");
    let size = terminal::size();
    let request = |command: Vec<String>| ExecSessionRequest {
        command,
        tty,
        stdin: true,
        stdout: true,
        stderr: true,
        cols: size.map(|size| size.columns),
        rows: size.map(|size| size.rows),
    };
    if !command.is_empty() {
        return Ok(client.exec(id, &request(command))?);
    }
    for shell in SHELLS {
        let command = shell.iter().map(|word| (*word).to_owned()).collect();
        match client.exec(id, &request(command)) {
            Err(ClientError::Api(body)) if is_missing(&body) => {
                log::debug!("no {} in the workload: {}", shell[0], body.message);
            }
            outcome => return Ok(outcome?),
        }
    }
    let message = "the workload has no shell (bash, sh, ash, busybox); name a program after --";
    Err(Failure::local(Code::NotFound, message))
}

/// Whether a program is not there, as opposed to anything else being wrong.
fn is_missing(body: &ErrorBody) -> bool {
    let reasons = [Reason::NotFound.code(), Reason::StartFailed.code()];
    body.details.as_ref().is_some_and(|details| reasons.contains(&details.reason.as_str()))
}

/// Carries bytes both ways until the program ends.
fn converse(mut attached: Attached, signals: &SignalFd) -> Result<i32, Failure> {
    let stdin = stdin();
    let mut stdin_open = true;
    let mut exit_code = None;
    loop {
        loop {
            match attached.receive()? {
                Incoming::Nothing => break,
                Incoming::Closed => return exit_code.ok_or_else(hung_up),
                Incoming::Frame(ExecFrame::Control { exit_code: code }) => exit_code = Some(code),
                Incoming::Frame(ExecFrame::Stdout { line }) => show(&mut stdout(), &line)?,
                Incoming::Frame(ExecFrame::Stderr { line }) => show(&mut stderr(), &line)?,
            }
        }
        let ready = wait(&attached, signals, stdin_open.then_some(&stdin))?;
        if ready.signal {
            heed(&mut attached, signals)?;
        }
        if attached.is_busy() {
            attached.flush()?;
        } else if ready.stdin {
            stdin_open = forward(&mut attached)?;
        }
    }
}

struct Ready {
    signal: bool,
    stdin: bool,
}

/// Waits until something can be done.
fn wait(attached: &Attached, signals: &SignalFd, stdin: Option<&io::Stdin>) -> Result<Ready, Failure> {
    let socket = match attached.is_busy() {
        true => PollFlags::POLLIN | PollFlags::POLLOUT,
        false => PollFlags::POLLIN,
    };
    let mut fds =
        vec![PollFd::new(attached.as_fd(), socket), PollFd::new(signals.as_fd(), PollFlags::POLLIN)];
    if let Some(stdin) = stdin.filter(|_| !attached.is_busy()) {
        fds.push(PollFd::new(stdin.as_fd(), PollFlags::POLLIN));
    }
    match poll(&mut fds, PollTimeout::NONE) {
        Ok(_) | Err(Errno::EINTR) => {}
        Err(error) => return Err(internal("wait", error)),
    }
    // A hang-up shows up when it is read, as the end.
    let is_ready =
        |fd: Option<&PollFd<'_>>| fd.and_then(|fd| fd.revents()).is_some_and(|events| !events.is_empty());
    Ok(Ready { signal: is_ready(fds.get(1)), stdin: is_ready(fds.get(2)) })
}

/// Reads some standard input and sends it; false at its end.
fn forward(attached: &mut Attached) -> Result<bool, Failure> {
    let mut buffer = [0; CHUNK_BYTES];
    // Not through `Stdin`, whose own buffer would hide bytes from the next wait.
    match nix::unistd::read(stdin().as_raw_fd(), &mut buffer) {
        Err(Errno::EINTR | Errno::EAGAIN) => Ok(true),
        // A terminal that is gone says EIO.
        Ok(0) | Err(Errno::EIO) => attached.end_input().map(|()| false).map_err(Failure::from),
        Ok(read) => attached.input(&buffer[..read]).map(|()| true).map_err(Failure::from),
        Err(error) => Err(internal("read standard input", error)),
    }
}

/// Tells the program of a new window size; other signals end us, with the terminal put back.
fn heed(attached: &mut Attached, signals: &SignalFd) -> Result<(), Failure> {
    while let Some(signal) = signals.read_signal().map_err(|error| internal("read signals", error))? {
        match Signal::try_from(i32::try_from(signal.ssi_signo).unwrap_or_default()) {
            Ok(Signal::SIGWINCH) => {
                if let Some(size) = terminal::size() {
                    attached.resize(size.columns, size.rows)?;
                }
            }
            other => {
                let name = other.map_or("a signal", Signal::as_str);
                return Err(Failure::local(Code::Unavailable, format!("ended by {name}")));
            }
        }
    }
    Ok(())
}

fn show(out: &mut impl Write, text: &str) -> Result<(), Failure> {
    out.write_all(text.as_bytes())
        .and_then(|()| out.flush())
        .map_err(|error| Failure::local(Code::Internal, format!("write the program's output: {error}")))
}

fn hung_up() -> Failure {
    Failure::local(Code::Unavailable, "the daemon ended the session before the program ended")
}

fn internal(doing: &str, error: Errno) -> Failure {
    Failure::local(Code::Internal, format!("{doing}: {error}"))
}

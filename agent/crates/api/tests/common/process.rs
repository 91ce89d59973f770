//! Exec for a node without containers: a local process behind real pipes or a real terminal.

use edgelet_api::node::{Exec, ExecControl, ExecIo, ExecRequest, TerminalSize};
use edgelet_types::{Fault, Reason};
use nix::pty::{Winsize, openpty};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use std::os::fd::OwnedFd;
use std::os::unix::process::ExitStatusExt;
use std::process::{Child, Command, Stdio};
use std::sync::mpsc::{Receiver, Sender, channel};

/// Starts the program.
pub fn start(request: &ExecRequest, killed: Sender<String>) -> Result<Exec, Fault> {
    let failed = |error: std::io::Error| Fault::new(Reason::NotFound, format!("exec: {error}"));
    let (child, io, terminal) = match request.terminal {
        Some(size) => with_terminal(request, size).map_err(failed)?,
        None => with_pipes(request).map_err(failed)?,
    };
    let pid = Pid::from_raw(i32::try_from(child.id()).expect("a pid"));
    let (ended, exit) = watch(child);
    let name = request.command[0].clone();
    Ok(Exec { io, ended, control: Box::new(Control { pid, terminal, exit, killed, name }) })
}

type Started = (Child, ExecIo, Option<OwnedFd>);

fn with_terminal(request: &ExecRequest, size: TerminalSize) -> std::io::Result<Started> {
    let size = Winsize { ws_row: size.rows, ws_col: size.columns, ws_xpixel: 0, ws_ypixel: 0 };
    let pty = openpty(&size, None)?;
    // `setsid -c` makes the terminal the controlling one, as a container's init would.
    let child = Command::new("setsid")
        .arg("-c")
        .args(&request.command)
        .stdin(pty.slave.try_clone()?)
        .stdout(pty.slave.try_clone()?)
        .stderr(pty.slave)
        .spawn()?;
    let terminal = pty.master.try_clone()?;
    Ok((child, ExecIo::Terminal(pty.master), Some(terminal)))
}

fn with_pipes(request: &ExecRequest) -> std::io::Result<Started> {
    let stdin = if request.stdin { Stdio::piped() } else { Stdio::null() };
    let mut child = Command::new(&request.command[0])
        .args(&request.command[1..])
        .stdin(stdin)
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()?;
    let io = ExecIo::Pipes {
        stdin: child.stdin.take().map(OwnedFd::from),
        stdout: child.stdout.take().expect("piped").into(),
        stderr: child.stderr.take().expect("piped").into(),
    };
    Ok((child, io, None))
}

/// Waits for the program in a thread; the descriptor is closed after the exit code is there.
fn watch(mut child: Child) -> (OwnedFd, Receiver<i32>) {
    let (ended, ends) = std::io::pipe().expect("a pipe");
    let (sender, exit) = channel();
    std::thread::spawn(move || {
        let status = child.wait().expect("our child");
        let code = status.code().unwrap_or_else(|| 128 + status.signal().expect("exited or signalled"));
        // The session may be over already.
        let _ = sender.send(code);
        drop(ends);
    });
    (ended.into(), exit)
}

struct Control {
    pid: Pid,
    terminal: Option<OwnedFd>,
    exit: Receiver<i32>,
    killed: Sender<String>,
    name: String,
}

impl ExecControl for Control {
    fn resize(&mut self, size: TerminalSize) -> Result<(), Fault> {
        let Some(terminal) = &self.terminal else { return Ok(()) };
        let size =
            rustix::termios::Winsize { ws_row: size.rows, ws_col: size.columns, ws_xpixel: 0, ws_ypixel: 0 };
        rustix::termios::tcsetwinsize(terminal, size)
            .map_err(|error| Fault::new(Reason::Internal, format!("resize: {error}")))
    }

    fn kill(&mut self) {
        // Gone already is fine.
        let _ = kill(self.pid, Signal::SIGKILL);
        // The test may be over.
        let _ = self.killed.send(self.name.clone());
    }

    fn exit_code(&mut self) -> Result<i32, Fault> {
        self.exit.recv().map_err(|error| Fault::new(Reason::Internal, error))
    }
}

//! A further program in a running container, through the runtime's own command line: it needs a process
//! with one thread, and the daemon has several.

use crate::reap::reap;
use edgelet_api::node::{Exec, ExecControl, ExecIo, ExecRequest, TerminalSize};
use edgelet_sys::console::{Size, set_size};
use edgelet_sys::process::{pidfd_open, pidfd_signal, readable_within};
use edgelet_sys::socket::{accept, listen_stream_at, receive_fd};
use edgelet_types::{ContainerId, Fault, Layout, Reason};
use std::fs;
use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

/// How long the runtime may take to start the program; the API gives up after as long.
const START_LIMIT: Duration = Duration::from_secs(15);

/// Starts the program and returns once it has been executed.
pub fn start(layout: &Layout, container: &ContainerId, request: &ExecRequest) -> Result<Exec, Fault> {
    let session = Session::new(layout, container)?;
    let console = match request.terminal {
        Some(_) => Some(
            listen_stream_at(&session.socket()).map_err(|error| failed("listen for the terminal", &error))?,
        ),
        None => None,
    };
    let runtime = session.spawn(layout, container, request)?;
    let (runtime, process) = wait_until_started(&session, runtime)?;
    // From here on whatever fails ends the program too.
    let mut control = Control { runtime: Some(runtime), process, terminal: None };
    let ended = control.ended()?;
    let io = match console {
        Some(listener) => ExecIo::Terminal(terminal(&listener)?),
        None => control.pipes()?,
    };
    if let (ExecIo::Terminal(master), Some(size)) = (&io, request.terminal) {
        control.terminal = Some(master.try_clone().map_err(|error| failed("hold the terminal", &error))?);
        control.resize(size)?;
    }
    Ok(Exec { io, ended, control: Box::new(control) })
}

/// The files of one session, taken away with it.
struct Session {
    dir: PathBuf,
}

impl Session {
    fn new(layout: &Layout, container: &ContainerId) -> Result<Self, Fault> {
        static NEXT: AtomicU64 = AtomicU64::new(0);
        let number = NEXT.fetch_add(1, Ordering::Relaxed);
        let dir = layout.bundle(container).join(format!("exec-{}-{number}", std::process::id()));
        fs::create_dir(&dir).map_err(|error| failed("make a session", &error))?;
        Ok(Self { dir })
    }

    fn socket(&self) -> PathBuf {
        self.dir.join("console.sock")
    }

    /// Written by the runtime once the program has been executed.
    fn pid_file(&self) -> PathBuf {
        self.dir.join("pid")
    }

    fn log(&self) -> PathBuf {
        self.dir.join("log")
    }

    fn spawn(&self, layout: &Layout, container: &ContainerId, request: &ExecRequest) -> Result<Child, Fault> {
        let mut command = Command::new("/proc/self/exe");
        command.arg0("edgelet-oci").arg("--root").arg(layout.runtime_root());
        command.arg("--log").arg(self.log()).args(["--log-format", "json"]);
        command.arg("exec").arg("--pid-file").arg(self.pid_file());
        if request.terminal.is_some() {
            command.arg("--tty").arg("--console-socket").arg(self.socket());
            command.args(["--env", "TERM=xterm-256color"]);
        }
        command.arg(container.as_str()).arg("--").args(&request.command);
        let piped = request.terminal.is_none();
        let output = || if piped { Stdio::piped() } else { Stdio::null() };
        command
            .env_clear()
            .stdin(if piped && request.stdin { Stdio::piped() } else { Stdio::null() })
            .stdout(output())
            .stderr(output())
            .spawn()
            .map_err(|error| failed("start the runtime", &error))
    }

    /// The runtime's own words for why it failed: the last message of its log.
    fn failure(&self) -> Fault {
        let log = fs::read_to_string(self.log()).unwrap_or_default();
        let last = log.lines().rev().find_map(|line| {
            serde_json::from_str::<serde_json::Value>(line).ok()?.get("msg")?.as_str().map(str::to_owned)
        });
        let message = last.unwrap_or_else(|| "the runtime died without a word".to_owned());
        let reason = match message.contains("executable file not found") {
            true => Reason::NotFound,
            false => Reason::StartFailed,
        };
        Fault::new(reason, message)
    }
}

impl Drop for Session {
    fn drop(&mut self) {
        if let Err(error) = fs::remove_dir_all(&self.dir) {
            log::warn!("session files not removed path={} error={error}", self.dir.display());
        }
    }
}

/// Waits for the runtime's word that the program runs, and holds the program.
fn wait_until_started(session: &Session, mut runtime: Child) -> Result<(Child, Option<OwnedFd>), Fault> {
    let deadline = Instant::now() + START_LIMIT;
    let process =
        pidfd_open(runtime.id().cast_signed()).map_err(|error| failed("hold the runtime", &error))?;
    loop {
        // In this order: a program that ends at once has its file nevertheless.
        let ended = readable_within(process.as_fd(), Duration::from_millis(5))
            .map_err(|error| failed("wait for the runtime", &error))?;
        if let Some(pid) = started(&session.pid_file()) {
            // Already ended and collected is fine; there is nothing to kill then.
            return Ok((runtime, pidfd_open(pid).ok()));
        }
        if ended {
            let _ = runtime.wait();
            return Err(session.failure());
        }
        if Instant::now() > deadline {
            let _ = runtime.kill();
            reap(runtime);
            return Err(Fault::new(Reason::TimedOut, "the program was not started in time"));
        }
    }
}

fn started(pid_file: &Path) -> Option<i32> {
    fs::read_to_string(pid_file).ok()?.parse().ok()
}

fn terminal(listener: &OwnedFd) -> Result<OwnedFd, Fault> {
    let doing = "take the terminal";
    // The runtime has sent it before it said that the program runs: this does not wait.
    let connection = accept(listener.as_fd()).map_err(|error| failed(doing, &error))?;
    let message = receive_fd(connection.as_fd(), 4096).map_err(|error| failed(doing, &error))?;
    message
        .and_then(|(_, master)| master)
        .ok_or_else(|| Fault::new(Reason::StartFailed, "no terminal was sent"))
}

struct Control {
    /// The runtime, which ends with the program; absent once it has been collected.
    runtime: Option<Child>,
    /// The program itself.
    process: Option<OwnedFd>,
    terminal: Option<OwnedFd>,
}

impl Control {
    fn runtime(&mut self) -> Result<&mut Child, Fault> {
        self.runtime.as_mut().ok_or_else(|| Fault::new(Reason::Internal, "the session has ended"))
    }

    fn ended(&mut self) -> Result<OwnedFd, Fault> {
        let pid = self.runtime()?.id().cast_signed();
        pidfd_open(pid).map_err(|error| failed("hold the session", &error))
    }

    fn pipes(&mut self) -> Result<ExecIo, Fault> {
        let missing = || Fault::new(Reason::Internal, "the session has no output");
        let runtime = self.runtime()?;
        Ok(ExecIo::Pipes {
            stdin: runtime.stdin.take().map(OwnedFd::from),
            stdout: runtime.stdout.take().map(OwnedFd::from).ok_or_else(missing)?,
            stderr: runtime.stderr.take().map(OwnedFd::from).ok_or_else(missing)?,
        })
    }
}

impl ExecControl for Control {
    fn resize(&mut self, size: TerminalSize) -> Result<(), Fault> {
        match &self.terminal {
            Some(master) => {
                let size = Size { height: size.rows, width: size.columns };
                set_size(master.as_fd(), size).map_err(|error| failed("resize the terminal", &error))
            }
            None => Ok(()),
        }
    }

    fn kill(&mut self) {
        // The runtime ends with the program. Both having ended already is fine.
        if let Some(process) = &self.process {
            let _ = pidfd_signal(process.as_fd(), nix::libc::SIGKILL);
        }
    }

    fn exit_code(&mut self) -> Result<i32, Fault> {
        let status = self.runtime()?.wait().map_err(|error| failed("wait for the program", &error))?;
        self.runtime = None;
        Ok(status.code().unwrap_or(128 + std::os::unix::process::ExitStatusExt::signal(&status).unwrap_or(0)))
    }
}

impl Drop for Control {
    /// Ends a program that nobody talks to any more, and collects the runtime's process. That may take as
    /// long as the kernel likes, so it is not waited for here.
    fn drop(&mut self) {
        let Some(mut runtime) = self.runtime.take() else { return };
        if !matches!(runtime.try_wait(), Ok(Some(_))) {
            self.kill();
            reap(runtime);
        }
    }
}

fn failed(doing: &'static str, error: &io::Error) -> Fault {
    Fault::chain(Reason::StartFailed, error).context(doing)
}

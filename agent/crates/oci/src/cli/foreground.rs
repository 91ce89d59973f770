//! Waiting for a program in the foreground: its end, signals for it, and its terminal.

use edgelet_sys::console::{self, RawMode};
use edgelet_sys::process::Child;
use edgelet_sys::socket;
use nix::errno::Errno;
use nix::poll::{PollFd, PollFlags, PollTimeout};
use nix::sys::signal::{SigSet, Signal};
use nix::sys::signalfd::{SfdFlags, SignalFd};
use std::io;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};

/// Signals that would end this process and are meant for the program. To be made before the program
/// is, so that none is lost.
#[derive(Debug)]
pub(super) struct Signals {
    fd: SignalFd,
}

impl Signals {
    /// Collects every signal from now on.
    pub(super) fn collect() -> io::Result<Self> {
        let mut set = SigSet::all();
        // A broken pipe of our own is an error code, and children are waited for by descriptor.
        set.remove(Signal::SIGCHLD);
        set.remove(Signal::SIGPIPE);
        set.thread_block()?;
        Ok(Self { fd: SignalFd::with_flags(&set, SfdFlags::SFD_CLOEXEC | SfdFlags::SFD_NONBLOCK)? })
    }
}

/// The caller's terminal, connected to the program's.
#[derive(Debug)]
pub(super) struct Relay {
    ours: OwnedFd,
}

impl Relay {
    /// The relay, and what is given to the runtime as console socket.
    pub(super) fn new() -> io::Result<(Self, OwnedFd)> {
        let (ours, theirs) = socket::stream_pair()?;
        Ok((Self { ours }, theirs))
    }

    /// The master that the runtime has sent.
    fn master(self) -> io::Result<OwnedFd> {
        let (_, fd) = socket::receive_fd(self.ours.as_fd(), 64)?.ok_or(io::ErrorKind::UnexpectedEof)?;
        fd.ok_or_else(|| io::ErrorKind::InvalidData.into())
    }
}

/// Waits for the end of `child`, passing signals on, and bytes if there is a terminal. The answer is
/// the exit code.
pub(super) fn attend(child: Child, signals: &Signals, relay: Option<Relay>) -> io::Result<i32> {
    let master = relay.map(Relay::master).transpose()?;
    let (stdin, stdout) = (io::stdin(), io::stdout());
    let (stdin, stdout) = (stdin.as_fd(), stdout.as_fd());
    // Input that is no terminal has no mode.
    let _raw = master.as_ref().and_then(|_| RawMode::enter(stdin).ok());
    if let Some(master) = &master {
        follow_size(stdin, master.as_fd());
    }
    let (mut stdin_open, mut master_open) = (master.is_some(), master.is_some());
    loop {
        let mut fds = vec![
            PollFd::new(child.as_fd(), PollFlags::POLLIN),
            PollFd::new(signals.fd.as_fd(), PollFlags::POLLIN),
        ];
        if let Some(master) = master.as_ref().filter(|_| master_open) {
            fds.push(PollFd::new(master.as_fd(), PollFlags::POLLIN));
            if stdin_open {
                fds.push(PollFd::new(stdin, PollFlags::POLLIN));
            }
        }
        match nix::poll::poll(&mut fds, PollTimeout::NONE) {
            Ok(_) => {}
            Err(Errno::EINTR) => continue,
            Err(error) => return Err(error.into()),
        }
        let ready = |at: usize| fds.get(at).and_then(|fd| fd.any()).unwrap_or(false);
        let (ended, signalled, output, input) = (ready(0), ready(1), ready(2), ready(3));
        if let Some(master) = master.as_ref().filter(|_| output) {
            master_open = match copy(master.as_fd(), stdout) {
                // No program has the terminal open any more.
                Err(error) if error.raw_os_error() == Some(libc::EIO) => false,
                other => other? > 0,
            };
        }
        if let Some(master) = master.as_ref().filter(|_| input) {
            stdin_open = copy(stdin, master.as_fd())? > 0;
        }
        if signalled {
            while let Some(signal) = signals.fd.read_signal()? {
                forward(&child, signal.ssi_signo, stdin, master.as_ref());
            }
        }
        if ended && !output {
            return child.wait().map(|end| end.code());
        }
    }
}

fn forward(child: &Child, signal: u32, stdin: BorrowedFd<'_>, master: Option<&OwnedFd>) {
    if let (Some(master), Ok(libc::SIGWINCH)) = (master, i32::try_from(signal)) {
        follow_size(stdin, master.as_fd());
        return;
    }
    // It may have ended just now.
    let _ = i32::try_from(signal).map(|signal| child.signal(signal));
}

fn follow_size(from: BorrowedFd<'_>, to: BorrowedFd<'_>) {
    // Without a terminal on our side the program's keeps the size it has.
    let _ = console::size(from).and_then(|size| console::set_size(to, size));
}

fn copy(from: BorrowedFd<'_>, to: BorrowedFd<'_>) -> io::Result<usize> {
    let mut buffer = [0; 4096];
    let count = match nix::unistd::read(from.as_raw_fd(), &mut buffer) {
        Ok(count) => count,
        Err(Errno::EINTR | Errno::EAGAIN) => return Ok(1),
        Err(error) => return Err(error.into()),
    };
    let mut left = &buffer[..count];
    while !left.is_empty() {
        match nix::unistd::write(to, left) {
            Ok(written) => left = &left[written..],
            Err(Errno::EINTR) => {}
            Err(error) => return Err(error.into()),
        }
    }
    Ok(count)
}

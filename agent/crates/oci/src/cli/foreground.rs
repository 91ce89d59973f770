//! Waiting for a program in the foreground: its end, signals for it, and its terminal.

use edgelet_sys::console::{self, RawMode};
use edgelet_sys::process::Child;
use edgelet_sys::socket;
use nix::errno::Errno;
use nix::fcntl::{FcntlArg, OFlag, fcntl};
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
        let fd = fd.ok_or(io::ErrorKind::InvalidData)?;
        fcntl(fd.as_raw_fd(), FcntlArg::F_SETFL(OFlag::O_RDWR | OFlag::O_NONBLOCK))?;
        Ok(fd)
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
    let mut master_open = master.is_some();
    let mut input = Input { open: master.is_some(), waiting: Vec::new() };
    loop {
        let mut fds = vec![
            PollFd::new(child.as_fd(), PollFlags::POLLIN),
            PollFd::new(signals.fd.as_fd(), PollFlags::POLLIN),
        ];
        if let Some(master) = master.as_ref().filter(|_| master_open) {
            fds.push(PollFd::new(master.as_fd(), PollFlags::POLLIN | input.wants_room()));
            if input.takes_more() {
                fds.push(PollFd::new(stdin, PollFlags::POLLIN));
            }
        }
        match nix::poll::poll(&mut fds, PollTimeout::NONE) {
            Ok(_) => {}
            Err(Errno::EINTR) => continue,
            Err(error) => return Err(error.into()),
        }
        let ready = |at: usize| fds.get(at).and_then(|fd| fd.revents()).unwrap_or(PollFlags::empty());
        let (ended, signalled) = (!ready(0).is_empty(), !ready(1).is_empty());
        let (output, room) =
            (!(ready(2) - PollFlags::POLLOUT).is_empty(), ready(2).contains(PollFlags::POLLOUT));
        let more = !ready(3).is_empty();
        if let Some(master) = master.as_ref().filter(|_| output) {
            master_open = match copy(master.as_fd(), stdout) {
                // No program has the terminal open any more.
                Err(error) if error.raw_os_error() == Some(libc::EIO) => false,
                other => other? > 0,
            };
        }
        if more {
            input.read(stdin)?;
        }
        if let Some(master) = master.as_ref().filter(|_| more || room) {
            input.pass_on(master.as_fd())?;
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

/// What the caller types. A program may read it slowly, and write meanwhile: one must not wait for the other.
struct Input {
    open: bool,
    /// Read, and not taken by the terminal yet.
    waiting: Vec<u8>,
}

impl Input {
    fn takes_more(&self) -> bool {
        self.open && self.waiting.is_empty()
    }

    fn wants_room(&self) -> PollFlags {
        if self.waiting.is_empty() { PollFlags::empty() } else { PollFlags::POLLOUT }
    }

    fn read(&mut self, from: BorrowedFd<'_>) -> io::Result<()> {
        let mut buffer = [0; CHUNK];
        match nix::unistd::read(from.as_raw_fd(), &mut buffer) {
            Ok(count) => {
                self.open = count > 0;
                self.waiting.extend_from_slice(&buffer[..count]);
            }
            Err(Errno::EINTR | Errno::EAGAIN) => {}
            Err(error) => return Err(error.into()),
        }
        Ok(())
    }

    fn pass_on(&mut self, master: BorrowedFd<'_>) -> io::Result<()> {
        match nix::unistd::write(master, &self.waiting) {
            Ok(written) => drop(self.waiting.drain(..written)),
            Err(Errno::EINTR | Errno::EAGAIN) => {}
            // No program has the terminal open any more.
            Err(Errno::EIO) => self.waiting.clear(),
            Err(error) => return Err(error.into()),
        }
        Ok(())
    }
}

/// How much is read at a time.
const CHUNK: usize = 4096;

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
    let mut buffer = [0; CHUNK];
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

//! Waiting for a program in the foreground: its end, signals for it, and its terminal.

use edgelet_sys::console::{self, RawMode};
use edgelet_sys::interruption::Interruption;
use edgelet_sys::process::Child;
use edgelet_sys::socket;
use nix::errno::Errno;
use nix::fcntl::{FcntlArg, OFlag, fcntl};
use nix::poll::{PollFd, PollFlags, PollTimeout};
use nix::sys::signal::{SigSet, Signal};
use nix::sys::signalfd::{SfdFlags, SignalFd};
use std::fs::{File, OpenOptions};
use std::io;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};
use std::os::unix::fs::OpenOptionsExt;

/// Signals that would end this process and are meant for the program. To be made before the program
/// is, so that none is lost; until then some of them end what is being made.
#[derive(Debug)]
pub(super) struct Signals {
    fd: SignalFd,
    interruption: Interruption<SignalFd>,
}

impl Signals {
    /// Collects every signal from now on.
    pub(super) fn collect() -> io::Result<Self> {
        let mut set = SigSet::all();
        // A broken pipe of our own is an error code, and children are waited for by descriptor.
        set.remove(Signal::SIGCHLD);
        set.remove(Signal::SIGPIPE);
        set.thread_block()?;
        let flags = SfdFlags::SFD_CLOEXEC | SfdFlags::SFD_NONBLOCK;
        // Only looked at: whoever reads gets all of them.
        let ending: SigSet = ENDING.into_iter().collect();
        let interruption = Interruption::by(SignalFd::with_flags(&ending, flags)?);
        Ok(Self { fd: SignalFd::with_flags(&set, flags)?, interruption })
    }
}

/// What a person or a service manager sends to be done with something.
const ENDING: [Signal; 4] = [Signal::SIGHUP, Signal::SIGINT, Signal::SIGQUIT, Signal::SIGTERM];

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
pub(super) fn attend(child: Child, signals: Signals, relay: Option<Relay>) -> io::Result<i32> {
    let Signals { fd: signals, interruption } = signals;
    drop(interruption);
    let master = relay.map(Relay::master).transpose()?;
    let (stdin, stdout) = (io::stdin(), io::stdout());
    let own = own_terminal(stdout.as_fd());
    let (stdin, stdout) = (stdin.as_fd(), own.as_ref().map_or(stdout.as_fd(), AsFd::as_fd));
    // Input that is no terminal has no mode.
    let _raw = master.as_ref().and_then(|_| RawMode::enter(stdin).ok());
    if let Some(master) = &master {
        follow_size(stdin, master.as_fd());
    }
    let mut input = Input { open: master.is_some(), waiting: Vec::new() };
    let mut output = Output { open: master.is_some(), lost: false, waiting: Vec::new() };
    let mut ended = false;
    loop {
        let mut wanted = vec![(Source::Signals, PollFd::new(signals.as_fd(), PollFlags::POLLIN))];
        if !ended {
            wanted.push((Source::Child, PollFd::new(child.as_fd(), PollFlags::POLLIN)));
        }
        if let Some(master) = master.as_ref().filter(|_| output.open) {
            // One that wants nothing is left out: what has hung up is always ready.
            let flags = input.wants_room() | output.wants_more();
            if !flags.is_empty() {
                wanted.push((Source::Master, PollFd::new(master.as_fd(), flags)));
            }
            if input.takes_more() {
                wanted.push((Source::Stdin, PollFd::new(stdin, PollFlags::POLLIN)));
            }
        }
        if !output.waiting.is_empty() {
            wanted.push((Source::Stdout, PollFd::new(stdout, PollFlags::POLLOUT)));
        }
        let is_last_look = ended && output.waiting.is_empty();
        let ready = wait(&wanted, if is_last_look { PollTimeout::ZERO } else { PollTimeout::NONE })?;
        let is_ready = |source: Source| ready.contains(&source);
        if let Some(master) = master.as_ref().filter(|_| is_ready(Source::Master)) {
            output.read(master.as_fd());
            input.pass_on(master.as_fd());
        }
        if is_ready(Source::Stdin) {
            input.read(stdin);
        }
        if is_ready(Source::Stdout) {
            output.pass_on(stdout);
        }
        let mut is_to_end = false;
        if is_ready(Source::Signals) {
            while let Some(signal) = signals.read_signal()? {
                is_to_end |= ENDING.iter().any(|ending| *ending as u32 == signal.ssi_signo);
                forward(&child, signal.ssi_signo, stdin, master.as_ref());
            }
        }
        ended |= is_ready(Source::Child);
        // Its last words are passed on, but nobody has to wait until somebody reads them.
        let is_silent = is_last_look && !is_ready(Source::Master);
        if ended && (is_silent || is_to_end) {
            return child.wait().map(|end| end.code());
        }
    }
}

/// The caller's terminal by a descriptor of our own, whose flags are nobody else's: one that can be written to may still
/// have less room than is written, and would be waited for.
fn own_terminal(stdout: BorrowedFd<'_>) -> Option<File> {
    if !nix::unistd::isatty(stdout.as_raw_fd()).unwrap_or(false) {
        return None;
    }
    let flags = OFlag::O_NONBLOCK | OFlag::O_NOCTTY;
    let mut options = OpenOptions::new();
    options.write(true).custom_flags(flags.bits());
    options.open(format!("/proc/self/fd/{}", stdout.as_raw_fd())).ok()
}

/// Whatever something is waited for from.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Source {
    Child,
    Signals,
    Master,
    Stdin,
    Stdout,
}

/// Waits until something can be done, and says where.
fn wait(wanted: &[(Source, PollFd<'_>)], timeout: PollTimeout) -> io::Result<Vec<Source>> {
    let mut fds: Vec<PollFd<'_>> = wanted.iter().map(|(_, fd)| *fd).collect();
    loop {
        match nix::poll::poll(&mut fds, timeout) {
            Ok(_) => break,
            Err(Errno::EINTR) => {}
            Err(error) => return Err(error.into()),
        }
    }
    let sources = wanted.iter().map(|(source, _)| *source).zip(&fds);
    Ok(sources.filter(|(_, fd)| fd.any().unwrap_or(true)).map(|(source, _)| source).collect())
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

    fn read(&mut self, from: BorrowedFd<'_>) {
        let mut buffer = [0; CHUNK];
        match nix::unistd::read(from.as_raw_fd(), &mut buffer) {
            Ok(count) => {
                self.open = count > 0;
                self.waiting.extend_from_slice(&buffer[..count]);
            }
            Err(Errno::EINTR | Errno::EAGAIN) => {}
            // There is nobody, or nobody who may type: a program goes on without.
            Err(_) => self.open = false,
        }
    }

    fn pass_on(&mut self, master: BorrowedFd<'_>) {
        match nix::unistd::write(master, &self.waiting) {
            Ok(written) => drop(self.waiting.drain(..written)),
            Err(Errno::EINTR | Errno::EAGAIN) => {}
            // No program has the terminal open any more.
            Err(_) => self.waiting.clear(),
        }
    }
}

/// What the program writes. Whoever reads it may be slow, or gone; signals and the program's end must not wait.
struct Output {
    /// Whether a program may write more.
    open: bool,
    /// Whether nobody reads.
    lost: bool,
    /// Written, and not read yet.
    waiting: Vec<u8>,
}

impl Output {
    fn wants_more(&self) -> PollFlags {
        if self.waiting.is_empty() { PollFlags::POLLIN } else { PollFlags::empty() }
    }

    fn read(&mut self, master: BorrowedFd<'_>) {
        if !self.waiting.is_empty() {
            return;
        }
        let mut buffer = [0; CHUNK];
        match nix::unistd::read(master.as_raw_fd(), &mut buffer) {
            Ok(count) if count > 0 && !self.lost => self.waiting.extend_from_slice(&buffer[..count]),
            // A program whose terminal is full would stand still.
            Ok(count) if count > 0 => {}
            Err(Errno::EINTR | Errno::EAGAIN) => {}
            // No program has the terminal open any more.
            Ok(_) | Err(_) => self.open = false,
        }
    }

    fn pass_on(&mut self, to: BorrowedFd<'_>) {
        match nix::unistd::write(to, &self.waiting) {
            Ok(written) => drop(self.waiting.drain(..written)),
            Err(Errno::EINTR | Errno::EAGAIN) => {}
            Err(_) => {
                self.lost = true;
                self.waiting.clear();
            }
        }
    }
}

/// How much is read and written at a time: as much as a pipe that can be written to takes without waiting (pipe(7),
/// `PIPE_BUF`).
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

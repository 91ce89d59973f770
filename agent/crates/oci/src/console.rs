//! The terminal of a program: made in the container, handed out over a socket.

use crate::error::{During, SpawnError};
use crate::options::ConsoleSocket;
use edgelet_sys::console::{self, Pair, Size};
use edgelet_sys::root::RootDir;
use edgelet_sys::socket;
use nix::fcntl::OFlag;
use nix::sys::stat::Mode;
use std::io;
use std::os::fd::{AsFd, AsRawFd, OwnedFd};

impl ConsoleSocket {
    /// A connection to whoever gets the master; made before the container sees anything.
    pub(crate) fn connect(&self) -> Result<OwnedFd, SpawnError> {
        match self {
            ConsoleSocket::Path(path) => {
                socket::connect_stream(path).during(format!("connect console socket {}", path.display()))
            }
            ConsoleSocket::Connected(fd) => fd.try_clone().during("use console socket"),
        }
    }
}

/// Whether a terminal and a place to send it to go together; the answer is what is missing.
pub(crate) fn check(terminal: bool, socket: Option<&ConsoleSocket>) -> Result<(), String> {
    match (terminal, socket) {
        (true, None) => Err("process.terminal needs a console socket".to_owned()),
        (false, Some(_)) => Err("a console socket needs process.terminal".to_owned()),
        _ => Ok(()),
    }
}

/// A new terminal from the container's own `/dev/pts`, so that its name means something inside, or from
/// the caller's where the container has none.
pub(crate) fn open(root: &RootDir, size: Option<Size>) -> io::Result<Pair> {
    let flags = OFlag::O_RDWR | OFlag::O_NOCTTY;
    let master = match root.open_at("dev/pts/ptmx", flags, 0) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => {
            let host = RootDir::from_fd(OwnedFd::from(std::fs::File::open("/dev")?))?;
            host.open_at("pts/ptmx", flags, 0)?
        }
        other => other?,
    };
    let pair = console::pair(master)?;
    if let Some(size) = size {
        console::set_size(pair.master.as_fd(), size)?;
    }
    Ok(pair)
}

/// Gives the master away; this process keeps none.
pub(crate) fn send_master(socket: OwnedFd, master: OwnedFd) -> io::Result<()> {
    // The bytes are for people who trace; the descriptor is the message.
    socket::send_fd(socket.as_fd(), b"/dev/ptmx", master.as_fd())
}

/// Makes the terminal the controlling one of this session and all three standard streams of it. The
/// program's user owns it from now on, as with a log-in.
pub(crate) fn take(slave: &OwnedFd, uid: u32) -> io::Result<()> {
    console::take_control(slave.as_fd())?;
    nix::unistd::fchown(slave.as_raw_fd(), Some(nix::unistd::Uid::from_raw(uid)), None)?;
    nix::sys::stat::fchmod(slave.as_raw_fd(), Mode::from_bits_truncate(0o620))?;
    for stream in 0..=2 {
        nix::unistd::dup2(slave.as_raw_fd(), stream)?;
    }
    Ok(())
}

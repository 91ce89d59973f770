//! Unix sockets: passing descriptors, and paths longer than an address can hold.

use nix::cmsg_space;
use nix::errno::Errno;
use nix::sys::socket::{
    AddressFamily, Backlog, ControlMessage, ControlMessageOwned, MsgFlags, SockFlag, SockType, UnixAddr,
    accept4, bind, connect, listen, recvmsg, sendmsg, socket, socketpair,
};
use std::io::{self, IoSlice, IoSliceMut};
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, FromRawFd, OwnedFd, RawFd};
use std::path::Path;

/// A connected pair that keeps message boundaries and tells each side when the other is gone.
pub fn message_pair() -> io::Result<(OwnedFd, OwnedFd)> {
    Ok(socketpair(AddressFamily::Unix, SockType::SeqPacket, None, SockFlag::SOCK_CLOEXEC)?)
}

/// A connected pair of byte streams.
pub fn stream_pair() -> io::Result<(OwnedFd, OwnedFd)> {
    Ok(socketpair(AddressFamily::Unix, SockType::Stream, None, SockFlag::SOCK_CLOEXEC)?)
}

/// Listens for messages at `path`, which must not exist; one connection waits at a time.
pub fn listen_at(path: &Path) -> io::Result<OwnedFd> {
    listen_as(path, SockType::SeqPacket)
}

/// Listens for byte streams at `path`, which must not exist; one connection waits at a time.
pub fn listen_stream_at(path: &Path) -> io::Result<OwnedFd> {
    listen_as(path, SockType::Stream)
}

fn listen_as(path: &Path, kind: SockType) -> io::Result<OwnedFd> {
    let listener = new(kind)?;
    let (_held, address) = address(path)?;
    bind(listener.as_raw_fd(), &address)?;
    listen(&listener, Backlog::new(1)?)?;
    Ok(listener)
}

/// Waits for a connection.
pub fn accept(listener: BorrowedFd<'_>) -> io::Result<OwnedFd> {
    loop {
        match accept4(listener.as_raw_fd(), SockFlag::SOCK_CLOEXEC) {
            // SAFETY: `accept4` just returned this descriptor, and nobody else has it.
            Ok(fd) => return Ok(unsafe { OwnedFd::from_raw_fd(fd) }),
            Err(Errno::EINTR | Errno::ECONNABORTED) => {}
            Err(error) => return Err(error.into()),
        }
    }
}

/// Connects to a message socket made by [`listen_at`].
pub fn connect_messages(path: &Path) -> io::Result<OwnedFd> {
    connect_as(path, SockType::SeqPacket)
}

/// Connects to a stream socket.
pub fn connect_stream(path: &Path) -> io::Result<OwnedFd> {
    connect_as(path, SockType::Stream)
}

/// Sends a message whole. A peer that is gone is `EPIPE`, never a signal.
pub fn send(socket: BorrowedFd<'_>, message: &[u8]) -> io::Result<()> {
    send_with(socket, message, &[])
}

/// Sends bytes (at least one) and with them a descriptor.
pub fn send_fd(socket: BorrowedFd<'_>, message: &[u8], fd: BorrowedFd<'_>) -> io::Result<()> {
    send_fds(socket, message, &[fd])
}

/// Sends bytes (at least one) and with them descriptors, if there are any, [`FDS`] at most.
pub fn send_fds(socket: BorrowedFd<'_>, message: &[u8], fds: &[BorrowedFd<'_>]) -> io::Result<()> {
    if fds.is_empty() {
        return send(socket, message);
    }
    let fds: Vec<RawFd> = fds.iter().map(AsRawFd::as_raw_fd).collect();
    send_with(socket, message, &[ControlMessage::ScmRights(&fds)])
}

/// The longest limit of a message, in bytes.
pub const LONGEST: usize = 8 << 10;

/// How many descriptors a message carries at most; of one that has more, the kernel closes the others.
pub const FDS: usize = 4;

fn send_with(socket: BorrowedFd<'_>, message: &[u8], control: &[ControlMessage<'_>]) -> io::Result<()> {
    let slices = [IoSlice::new(message)];
    loop {
        match sendmsg::<()>(socket.as_raw_fd(), &slices, control, MsgFlags::MSG_NOSIGNAL, None) {
            Ok(sent) if sent == message.len() => return Ok(()),
            Ok(_) => return Err(io::ErrorKind::WriteZero.into()),
            Err(Errno::EINTR) => {}
            Err(error) => return Err(error.into()),
        }
    }
}

/// Receives one message of at most `limit` bytes, [`LONGEST`] at most; `None` when the peer is gone. `EMSGSIZE` when
/// it was longer.
pub fn receive(socket: BorrowedFd<'_>, limit: usize) -> io::Result<Option<Vec<u8>>> {
    Ok(receive_fd(socket, limit)?.map(|(message, _)| message))
}

/// Receives one message and the descriptor that came with it, if one did.
pub fn receive_fd(socket: BorrowedFd<'_>, limit: usize) -> io::Result<Option<(Vec<u8>, Option<OwnedFd>)>> {
    Ok(receive_fds(socket, limit)?.map(|(message, mut fds)| (message, fds.pop())))
}

/// Receives one message and the descriptors that came with it, in order.
pub fn receive_fds(socket: BorrowedFd<'_>, limit: usize) -> io::Result<Option<(Vec<u8>, Vec<OwnedFd>)>> {
    // On the heap this would be a mapping of its own, for each message.
    let mut message = [0; LONGEST];
    let message = message.get_mut(..limit).ok_or(Errno::EINVAL)?;
    let mut control = cmsg_space!([RawFd; FDS]);
    loop {
        let mut slices = [IoSliceMut::new(message)];
        let flags = MsgFlags::MSG_CMSG_CLOEXEC;
        let (length, truncated, fds) =
            match recvmsg::<()>(socket.as_raw_fd(), &mut slices, Some(&mut control), flags) {
                Ok(received) => {
                    let mut fds = Vec::new();
                    for part in received.cmsgs()? {
                        if let ControlMessageOwned::ScmRights(raw) = part {
                            // SAFETY: the kernel just made these descriptors for us.
                            fds.extend(raw.into_iter().map(|fd| unsafe { OwnedFd::from_raw_fd(fd) }));
                        }
                    }
                    (received.bytes, received.flags.contains(MsgFlags::MSG_TRUNC), fds)
                }
                Err(Errno::EINTR) => continue,
                Err(Errno::ECONNRESET) => return Ok(None),
                Err(error) => return Err(error.into()),
            };
        if truncated {
            return Err(Errno::EMSGSIZE.into());
        }
        return Ok((length > 0).then(|| (message[..length].to_vec(), fds)));
    }
}

fn new(kind: SockType) -> io::Result<OwnedFd> {
    Ok(socket(AddressFamily::Unix, kind, SockFlag::SOCK_CLOEXEC, None)?)
}

fn connect_as(path: &Path, kind: SockType) -> io::Result<OwnedFd> {
    let socket = new(kind)?;
    let (_held, address) = address(path)?;
    connect(socket.as_fd().as_raw_fd(), &address)?;
    Ok(socket)
}

/// An address holds 108 bytes; a longer path is shortened through a descriptor of its directory,
/// which must stay open while the address is used.
fn address(path: &Path) -> io::Result<(Option<std::fs::File>, UnixAddr)> {
    match UnixAddr::new(path) {
        Ok(address) => Ok((None, address)),
        Err(Errno::ENAMETOOLONG) => {
            let (Some(parent), Some(name)) = (path.parent(), path.file_name()) else {
                return Err(Errno::EINVAL.into());
            };
            let parent = std::fs::File::open(parent)?;
            let short = Path::new("/proc/self/fd").join(parent.as_raw_fd().to_string()).join(name);
            let address = UnixAddr::new(&short)?;
            Ok((Some(parent), address))
        }
        Err(error) => Err(error.into()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_descriptor_travels_and_a_closed_peer_is_noticed() {
        let (ours, theirs) = message_pair().expect("pair");
        let (_keep, end) = nix::unistd::pipe().expect("pipe");
        send_fd(ours.as_fd(), b"x", end.as_fd()).expect("send");
        let (message, fd) = receive_fd(theirs.as_fd(), 16).expect("receive").expect("a message");
        assert_eq!((message.as_slice(), fd.is_some()), (&b"x"[..], true));
        drop(ours);
        assert!(receive(theirs.as_fd(), 16).expect("receive").is_none());
    }

    #[test]
    fn a_message_that_is_too_long_is_an_error() {
        let (ours, theirs) = message_pair().expect("pair");
        send(ours.as_fd(), b"long").expect("send");
        let error = receive(theirs.as_fd(), 3).expect_err("too long");
        assert_eq!(error.raw_os_error(), Some(libc::EMSGSIZE));
    }

    #[test]
    fn a_long_path_can_be_listened_at_and_connected_to() {
        let dir = tempfile::tempdir().expect("temporary directory");
        let deep = dir.path().join("d".repeat(100)).join("e".repeat(100));
        std::fs::create_dir_all(&deep).expect("mkdir");
        let listener = listen_at(&deep.join("s")).expect("listen");
        let client = connect_messages(&deep.join("s")).expect("connect");
        let server = accept(listener.as_fd()).expect("accept");
        send(client.as_fd(), b"hello").expect("send");
        assert_eq!(receive(server.as_fd(), 16).expect("receive").as_deref(), Some(&b"hello"[..]));
    }
}

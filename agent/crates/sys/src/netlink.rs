//! Network devices and their addresses, by rtnetlink(7): as much as it takes to hand a device to a container.

use nix::errno::Errno;
use std::ffi::CString;
use std::io;
use std::os::fd::{AsRawFd, BorrowedFd, FromRawFd, OwnedFd};

/// A conversation with the kernel about the network namespace that it was begun in.
#[derive(Debug)]
pub struct Route {
    fd: OwnedFd,
}

/// An address of a device, as the kernel describes it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Address {
    family: u8,
    prefix: u8,
    scope: u8,
    /// `IFA_F_*` bits.
    flags: u32,
    /// What goes with it, as attributes.
    attributes: Vec<(u16, Vec<u8>)>,
}

impl Address {
    /// Given for good by somebody, and good beyond its link (`IFA_F_PERMANENT`, `RT_SCOPE_UNIVERSE`).
    pub fn is_permanent_and_global(&self) -> bool {
        const PERMANENT: u32 = 0x80;
        self.scope == 0 && self.flags & PERMANENT != 0
    }
}

impl Route {
    /// Begins one.
    pub fn open() -> io::Result<Self> {
        let kind = libc::SOCK_RAW | libc::SOCK_CLOEXEC;
        // SAFETY: no pointers are passed.
        let fd = Errno::result(unsafe { libc::socket(libc::AF_NETLINK, kind, libc::NETLINK_ROUTE) })?;
        // SAFETY: the kernel just returned this descriptor.
        Ok(Self { fd: unsafe { OwnedFd::from_raw_fd(fd) } })
    }

    /// The addresses of a device.
    pub fn addresses(&self, device: u32) -> io::Result<Vec<Address>> {
        let all = self.ask(libc::RTM_GETADDR, DUMP, &address_header(0, 0, 0, 0))?;
        Ok(all
            .iter()
            .filter_map(|body| parse_address(body))
            .filter(|(of, _)| *of == device)
            .map(|(_, a)| a)
            .collect())
    }

    /// Moves a device into another network namespace under a name, which may hold `%d` for the next free number.
    /// Its addresses stay behind, and it is down there. `EEXIST` when the name is taken.
    pub fn move_device(&self, device: u32, namespace: BorrowedFd<'_>, name: &str) -> io::Result<()> {
        const NAMESPACE: u16 = 28;
        const NAME: u16 = 3;
        let mut request = link_header(device, 0, 0);
        attribute(&mut request, NAMESPACE, &namespace.as_raw_fd().to_ne_bytes());
        attribute(&mut request, NAME, CString::new(name).map_err(|_| Errno::EINVAL)?.as_bytes_with_nul());
        self.ask(libc::RTM_NEWLINK, ACKNOWLEDGE, &request).map(drop)
    }

    /// Switches a device on.
    pub fn set_up(&self, device: u32) -> io::Result<()> {
        let up = libc::IFF_UP.unsigned_abs();
        self.ask(libc::RTM_NEWLINK, ACKNOWLEDGE, &link_header(device, up, up)).map(drop)
    }

    /// Gives a device an address.
    pub fn add_address(&self, device: u32, address: &Address) -> io::Result<()> {
        // One byte of the flags fits into the header; all of them go into an attribute.
        const FLAGS: u16 = 8;
        let mut request = address_header(address.family, address.prefix, address.scope, device);
        attribute(&mut request, FLAGS, &address.flags.to_ne_bytes());
        address.attributes.iter().for_each(|(kind, value)| attribute(&mut request, *kind, value));
        self.ask(libc::RTM_NEWADDR, ACKNOWLEDGE | CREATE, &request).map(drop)
    }

    /// Sends a request and gives the bodies of the answers, up to the one that ends them.
    fn ask(&self, kind: u16, flags: u16, body: &[u8]) -> io::Result<Vec<Vec<u8>>> {
        const REQUEST: u16 = 1;
        let length = u32::try_from(HEADER + body.len()).map_err(|_| Errno::EMSGSIZE)?;
        let mut message = Vec::with_capacity(HEADER + body.len());
        message.extend(length.to_ne_bytes());
        message.extend(kind.to_ne_bytes());
        message.extend((flags | REQUEST).to_ne_bytes());
        // Neither a sequence number nor a port: one request at a time, and the kernel is who answers.
        message.extend([0; 8]);
        message.extend(body);
        nix::sys::socket::send(self.fd.as_raw_fd(), &message, nix::sys::socket::MsgFlags::empty())?;
        let mut bodies = Vec::new();
        let mut buffer = vec![0; LONGEST];
        loop {
            let flags = nix::sys::socket::MsgFlags::empty();
            let length = match nix::sys::socket::recv(self.fd.as_raw_fd(), &mut buffer, flags) {
                Err(Errno::EINTR) => continue,
                other => other?,
            };
            if take(&buffer[..length], &mut bodies)? {
                return Ok(bodies);
            }
        }
    }
}

/// The number of a device in the caller's network namespace.
pub fn device(name: &str) -> io::Result<u32> {
    let name = CString::new(name).map_err(|_| Errno::EINVAL)?;
    // SAFETY: `name` is a C string that outlives the call.
    match unsafe { libc::if_nametoindex(name.as_ptr()) } {
        0 => Err(io::Error::last_os_error()),
        index => Ok(index),
    }
}

/// The names of all devices in the caller's network namespace.
pub fn devices() -> io::Result<Vec<String>> {
    nix::net::if_::if_nameindex()
        .map(|list| list.iter().map(|device| device.name().to_string_lossy().into_owned()).collect())
        .map_err(io::Error::from)
}

/// `NLM_F_ACK`, `NLM_F_DUMP`, `NLM_F_CREATE | NLM_F_EXCL`.
const ACKNOWLEDGE: u16 = 0x4;
const DUMP: u16 = 0x300;
const CREATE: u16 = 0x600;
/// `struct nlmsghdr`.
const HEADER: usize = 16;
/// The kernel puts no more than this into one datagram (`NLMSG_GOODSIZE` is at most 8 KiB, dumps 32 KiB).
const LONGEST: usize = 32 << 10;

/// `struct ifinfomsg`.
fn link_header(device: u32, flags: u32, change: u32) -> Vec<u8> {
    let mut header = vec![0; 4];
    header.extend(device.to_ne_bytes());
    header.extend(flags.to_ne_bytes());
    header.extend(change.to_ne_bytes());
    header
}

/// `struct ifaddrmsg`.
fn address_header(family: u8, prefix: u8, scope: u8, device: u32) -> Vec<u8> {
    let mut header = vec![family, prefix, 0, scope];
    header.extend(device.to_ne_bytes());
    header
}

/// Appends an attribute, padded to four bytes.
fn attribute(request: &mut Vec<u8>, kind: u16, value: &[u8]) {
    let length = u16::try_from(4 + value.len()).unwrap_or(u16::MAX);
    request.extend(length.to_ne_bytes());
    request.extend(kind.to_ne_bytes());
    request.extend(value);
    request.resize(request.len().next_multiple_of(4), 0);
}

/// Takes the messages of a datagram; the answer is whether it was the last.
fn take(mut datagram: &[u8], bodies: &mut Vec<Vec<u8>>) -> io::Result<bool> {
    const MULTIPLE: u16 = 2;
    while let Some((length, kind, flags)) = message_header(datagram) {
        let body = datagram.get(HEADER..length).ok_or(Errno::EBADMSG)?;
        match i32::from(kind) {
            libc::NLMSG_ERROR => {
                let code = body.first_chunk().map_or(-libc::EBADMSG, |code| i32::from_ne_bytes(*code));
                return if code == 0 { Ok(true) } else { Err(io::Error::from_raw_os_error(-code)) };
            }
            libc::NLMSG_DONE => return Ok(true),
            _ => bodies.push(body.to_vec()),
        }
        if flags & MULTIPLE == 0 {
            return Ok(true);
        }
        datagram = datagram.get(length.next_multiple_of(4)..).unwrap_or_default();
    }
    Ok(false)
}

/// Length, type and flags.
fn message_header(datagram: &[u8]) -> Option<(usize, u16, u16)> {
    let (length, rest) = datagram.split_first_chunk()?;
    let (kind, rest) = rest.split_first_chunk()?;
    let (flags, _) = rest.split_first_chunk()?;
    let length = usize::try_from(u32::from_ne_bytes(*length)).ok()?.max(HEADER);
    Some((length, u16::from_ne_bytes(*kind), u16::from_ne_bytes(*flags)))
}

/// The device that an address belongs to, and the address.
fn parse_address(body: &[u8]) -> Option<(u32, Address)> {
    const FLAGS: u16 = 8;
    /// When it was given and until when it is good: not for an address that is given anew.
    const CACHE: u16 = 6;
    let (&[family, prefix, flags, scope], rest) = body.split_first_chunk()?;
    let (device, mut rest) = rest.split_first_chunk()?;
    let mut address = Address { family, prefix, scope, flags: u32::from(flags), attributes: Vec::new() };
    while let Some((length, after)) = rest.split_first_chunk() {
        let (kind, _) = after.split_first_chunk()?;
        let length = usize::from(u16::from_ne_bytes(*length));
        let value = rest.get(4..length)?;
        match u16::from_ne_bytes(*kind) {
            FLAGS => {
                address.flags = value.first_chunk().map_or(address.flags, |bits| u32::from_ne_bytes(*bits))
            }
            CACHE => {}
            kind => address.attributes.push((kind, value.to_vec())),
        }
        rest = rest.get(length.next_multiple_of(4)..).unwrap_or_default();
    }
    Some((u32::from_ne_bytes(*device), address))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_loopback_address_is_found() {
        let lo = device("lo").expect("lo");
        let addresses = Route::open().and_then(|route| route.addresses(lo)).expect("addresses");
        let local = addresses.iter().any(|address| {
            address.prefix == 8 && address.attributes.iter().any(|(_, value)| value == &[127, 0, 0, 1])
        });
        assert!(local, "{addresses:?}");
        assert!(devices().is_ok_and(|names| names.iter().any(|name| name == "lo")));
    }

    #[test]
    fn what_the_kernel_refuses_is_an_error() {
        let error = Route::open().and_then(|route| route.set_up(u32::MAX >> 1)).expect_err("no such device");
        assert_eq!(error.raw_os_error(), Some(libc::ENODEV));
        assert_eq!(device("nothing-here").expect_err("none").raw_os_error(), Some(libc::ENODEV));
    }

    #[test]
    fn a_message_that_is_cut_is_not_read_beyond_its_end() {
        let mut whole = address_header(2, 24, 0, 7);
        attribute(&mut whole, 1, &[10, 0, 0, 1]);
        assert!(parse_address(&whole).is_some_and(|(device, _)| device == 7));
        for length in 0..whole.len() {
            let _ = parse_address(&whole[..length]);
        }
        let endless = [255, 255, 255, 255, 20, 0, 2, 0, 0, 0, 0, 0, 0, 0, 0, 0];
        assert!(take(&endless, &mut Vec::new()).is_err());
    }
}

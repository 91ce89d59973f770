//! Telling a service manager how we are: sd_notify(3) and sd_watchdog_enabled(3), without its library.

use crate::process::assert_one_thread;
use std::ffi::OsStr;
use std::io;
use std::os::linux::net::SocketAddrExt;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::net::{SocketAddr, UnixDatagram};
use std::time::Duration;

const SOCKET: &str = "NOTIFY_SOCKET";
const WATCHDOG_USEC: &str = "WATCHDOG_USEC";
const WATCHDOG_PID: &str = "WATCHDOG_PID";

/// The way to the service manager that started us.
#[derive(Debug)]
pub struct Manager {
    socket: UnixDatagram,
    address: SocketAddr,
    /// It takes us for hung when it has heard nothing for so long; `None` when it does not watch us.
    pub watchdog: Option<Duration>,
}

impl Manager {
    /// Takes what a service manager put into our environment out of it, so that no child answers in our
    /// name. `None` when nobody wants to hear of us.
    ///
    /// # Errors
    /// `EDEADLK` when the calling process has more than one thread: another might be reading the
    /// environment. This is what makes the function safe to call. `InvalidInput` when the variables make
    /// no sense; they are gone from the environment then, too.
    pub fn take() -> io::Result<Option<Self>> {
        let names = [SOCKET, WATCHDOG_USEC, WATCHDOG_PID];
        let values = names.map(std::env::var_os);
        if values.iter().any(Option::is_some) {
            assert_one_thread()?;
            for name in names {
                // SAFETY: there is no other thread that could read the environment meanwhile.
                unsafe { std::env::remove_var(name) };
            }
        }
        let [socket, usec, pid] = values;
        let Some(socket) = socket else { return Ok(None) };
        let address = address(&socket)?;
        let watchdog = watchdog(usec.as_deref(), pid.as_deref(), std::process::id())?;
        Ok(Some(Self { socket: UnixDatagram::unbound()?, address, watchdog }))
    }

    /// Sends assignments such as `READY=1`, one on each line. Blocks while the manager has no room.
    pub fn tell(&self, assignments: &str) -> io::Result<()> {
        self.socket.send_to_addr(assignments.as_bytes(), &self.address).map(drop)
    }
}

/// A path, or a name in the abstract namespace behind an `@`.
fn address(socket: &OsStr) -> io::Result<SocketAddr> {
    match socket.as_bytes() {
        [b'/', ..] => SocketAddr::from_pathname(socket),
        [b'@', name @ ..] if !name.is_empty() => SocketAddr::from_abstract_name(name),
        _ => Err(invalid(SOCKET, socket)),
    }
}

/// The time that the watchdog waits, if it is this process that it watches.
fn watchdog(usec: Option<&OsStr>, pid: Option<&OsStr>, own_pid: u32) -> io::Result<Option<Duration>> {
    let Some(usec) = usec else { return Ok(None) };
    let limit: u64 = parse(WATCHDOG_USEC, usec)?;
    if limit == 0 {
        return Err(invalid(WATCHDOG_USEC, usec));
    }
    let watched = match pid {
        Some(pid) => parse::<u32>(WATCHDOG_PID, pid)? == own_pid,
        None => true,
    };
    Ok(watched.then(|| Duration::from_micros(limit)))
}

fn parse<T: std::str::FromStr>(name: &str, value: &OsStr) -> io::Result<T> {
    value.to_str().and_then(|text| text.parse().ok()).ok_or_else(|| invalid(name, value))
}

fn invalid(name: &str, value: &OsStr) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidInput, format!("{name}={value:?} is not valid"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_socket_is_named_by_a_path_or_abstractly() {
        let path = address(OsStr::new("/run/systemd/notify")).expect("a path");
        assert_eq!(path.as_pathname(), Some("/run/systemd/notify".as_ref()));
        let name = address(OsStr::new("@a/b")).expect("a name");
        assert_eq!(name.as_abstract_name(), Some(&b"a/b"[..]));
        for wrong in ["", "@", "notify", "vsock:2:1"] {
            assert!(address(OsStr::new(wrong)).is_err(), "{wrong:?}");
        }
        assert!(address(OsStr::new(&format!("/{}", "x".repeat(200)))).is_err());
    }

    #[test]
    fn a_watchdog_watches_the_process_that_it_names() {
        let cases = [
            (None, None, Ok(None)),
            (None, Some("7"), Ok(None)),
            (Some("3000000"), None, Ok(Some(3))),
            (Some("3000000"), Some("7"), Ok(Some(3))),
            (Some("3000000"), Some("8"), Ok(None)),
            (Some("0"), None, Err(())),
            (Some("-1"), None, Err(())),
            (Some("3s"), None, Err(())),
            (Some("3000000"), Some("me"), Err(())),
        ];
        for (usec, pid, want) in cases {
            let found = watchdog(usec.map(OsStr::new), pid.map(OsStr::new), 7);
            let want = want.map(|seconds: Option<u64>| seconds.map(Duration::from_secs));
            assert_eq!(found.map_err(drop), want, "{usec:?} {pid:?}");
        }
    }
}

//! What a process that is being set up and its creator say to each other.
//!
//! Messages are kept whole by the socket, bounded, and parsed strictly. Each side notices when the
//! other is gone, so that neither waits for a dead one.

use crate::error::{During, InitFailure, SpawnError};
use edgelet_sys::{process, socket};
use serde::{Deserialize, Serialize};
use std::io;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd, RawFd};
use std::time::{Duration, Instant};

/// What the new process reports.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) enum Report {
    /// A helper made the process; this is its id.
    Made { pid: i32 },
    /// It is in its namespaces, and has its mounts.
    Furnished,
    /// Everything is set up but the last steps.
    Ready,
    /// It gives up.
    Failed { message: String, errno: Option<i32> },
}

/// The largest message, in bytes.
const LIMIT: usize = socket::LONGEST;
/// How much of an error's text is passed on, in bytes; the rest of a message needs far less.
const TEXT_LIMIT: usize = 2 << 10;
const GO: &[u8] = b"go";
const WAITING: &str = "wait for the creator";

/// One end.
#[derive(Debug)]
pub(crate) struct Channel {
    socket: OwnedFd,
    /// The number of the other end, which a clone copies along with this one.
    peer: Option<RawFd>,
}

impl Channel {
    /// The creator's end and the new process's.
    pub(crate) fn pair() -> Result<(Self, Self), SpawnError> {
        let (ours, theirs) = socket::message_pair().during("make channel")?;
        let peer = Some(ours.as_raw_fd());
        Ok((Self { socket: ours, peer: None }, Self { socket: theirs, peer }))
    }

    /// Closes the new process's copy of the creator's end. To be called in that process, once and first
    /// thing: until then it would keep its own channel open and never see that the creator is gone.
    pub(crate) fn let_go_of_peer(&mut self) {
        if let Some(peer) = self.peer.take() {
            // The owner of this number is in the creator's memory; its copy here is never used again.
            let _ = nix::unistd::close(peer);
        }
    }

    /// One end of a connection that was made otherwise.
    pub(crate) fn over(socket: OwnedFd) -> Self {
        Self { socket, peer: None }
    }

    /// Lets the new process go on.
    pub(crate) fn go(&self) -> Result<(), SpawnError> {
        socket::send(self.socket.as_fd(), GO).during("tell the new process to go on")
    }

    /// Waits to be let go on; an error when the creator is gone or says anything else.
    pub(crate) fn wait_for_go(&self) -> Result<(), SpawnError> {
        match self.hear()?.as_slice() {
            GO => Ok(()),
            _ => Err(io::Error::from(io::ErrorKind::InvalidData)).during(WAITING),
        }
    }

    /// Lets the new process go on, and tells it which process it is: from its own namespace it cannot know.
    pub(crate) fn go_as(&self, pid: i32) -> Result<(), SpawnError> {
        socket::send(self.socket.as_fd(), &pid.to_ne_bytes()).during("tell the new process to go on")
    }

    /// Waits to be let go on and to be told its process id.
    pub(crate) fn wait_for_go_as(&self) -> Result<i32, SpawnError> {
        let pid = self.hear()?.try_into().map(i32::from_ne_bytes);
        pid.map_err(|_| io::Error::from(io::ErrorKind::InvalidData)).during(WAITING)
    }

    /// By the plainest call, as all that a new process says and hears: a filter may be in force by now.
    fn hear(&self) -> Result<Vec<u8>, SpawnError> {
        let mut message = [0; LIMIT];
        match nix::unistd::read(self.socket.as_raw_fd(), &mut message).during(WAITING)? {
            0 => Err(io::Error::from(io::ErrorKind::UnexpectedEof)).during(WAITING),
            length => Ok(message[..length].to_vec()),
        }
    }

    /// Tells the creator.
    pub(crate) fn report(&self, report: &Report) -> Result<(), SpawnError> {
        let message = serde_json::to_vec(report).map_err(io::Error::other).during("report")?;
        nix::unistd::write(&self.socket, &message).map(drop).during("report")
    }

    /// Tells the creator why nothing comes of it. Nobody may be listening any more.
    pub(crate) fn report_failure(&self, error: &SpawnError) {
        let failure = InitFailure::from(error);
        let message = failure.message.chars().take(TEXT_LIMIT / 4).collect();
        let Ok(message) = serde_json::to_vec(&Report::Failed { message, errno: failure.errno }) else {
            return;
        };
        let _ = nix::unistd::write(&self.socket, &message);
    }

    /// Waits for a report; `None` when the process is gone, by ending or by executing its program. A
    /// failure that it reports is an error here.
    pub(crate) fn next(&self, limit: Duration) -> Result<Option<Report>, SpawnError> {
        let step = "wait for the new process";
        let deadline = Instant::now() + limit;
        if !process::readable_within(self.socket.as_fd(), deadline - Instant::now()).during(step)? {
            return Err(io::Error::from(io::ErrorKind::TimedOut)).during(step);
        }
        let Some(message) = socket::receive(self.socket.as_fd(), LIMIT).during(step)? else {
            return Ok(None);
        };
        match serde_json::from_slice(&message).map_err(io::Error::other).during(step)? {
            Report::Failed { message, errno } => Err(SpawnError::Init(InitFailure { message, errno })),
            report => Ok(Some(report)),
        }
    }

    /// Waits for exactly this report.
    pub(crate) fn expect(&self, wanted: Report, limit: Duration) -> Result<(), SpawnError> {
        match self.next(limit)? {
            Some(report) if report == wanted => Ok(()),
            Some(other) => Err(broken(format!("reported {other:?} instead of {wanted:?}"))),
            None => Err(broken("ended without a word".to_owned())),
        }
    }
}

impl AsFd for Channel {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.socket.as_fd()
    }
}

fn broken(message: String) -> SpawnError {
    SpawnError::Init(InitFailure { message, errno: None })
}

impl From<&SpawnError> for InitFailure {
    fn from(error: &SpawnError) -> Self {
        match error {
            SpawnError::Step { step, source } => {
                InitFailure { message: format!("{step}: {source}"), errno: source.raw_os_error() }
            }
            SpawnError::Init(failure) => failure.clone(),
            SpawnError::Hook(message) => InitFailure { message: message.clone(), errno: None },
            SpawnError::Cgroup(message) => InitFailure { message: format!("cgroup: {message}"), errno: None },
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SOON: Duration = Duration::from_secs(5);

    #[test]
    fn reports_arrive_and_failures_become_errors() {
        let (creator, created) = Channel::pair().expect("pair");
        created.report(&Report::Furnished).expect("report");
        creator.expect(Report::Furnished, SOON).expect("furnished");
        created.report_failure(&SpawnError::Hook("x".repeat(100_000)));
        match creator.next(SOON) {
            Err(SpawnError::Init(failure)) => assert!(failure.message.len() <= TEXT_LIMIT),
            other => panic!("{other:?}"),
        }
        drop(created);
        assert!(matches!(creator.next(SOON), Ok(None)));
    }

    #[test]
    fn neither_side_waits_for_a_dead_one() {
        let (creator, created) = Channel::pair().expect("pair");
        drop(creator);
        assert!(created.wait_for_go().is_err());
        assert!(created.wait_for_go_as().is_err());
    }

    #[test]
    fn a_process_is_told_its_id_and_nothing_is_taken_for_another() {
        let (creator, created) = Channel::pair().expect("pair");
        creator.go_as(4711).expect("go");
        assert_eq!(created.wait_for_go_as().ok(), Some(4711));
        creator.go_as(4711).expect("go");
        assert!(created.wait_for_go().is_err());
        creator.go().expect("go");
        assert!(created.wait_for_go_as().is_err());
    }
}

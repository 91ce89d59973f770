//! A process that enters namespaces in the caller's place, and makes a child that begins in them.
//!
//! The caller could not come back from some of them: whoever enters a user namespace has no rights left outside. And
//! what begins among the processes of a container must see no more than they do: one of them with enough rights could
//! reach through it.

use crate::channel::{Channel, Report};
use crate::create::{STEP_LIMIT, end, rank};
use crate::error::{During, SpawnError};
use crate::program::Program;
use caps::{CapSet, Capability};
use edgelet_sys::namespace::{self, Kind};
use edgelet_sys::new_root;
use edgelet_sys::process::{self, Child};
use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

/// What the child does.
pub(crate) trait Life {
    /// Closes what the child does not need of all that its creator had open. It needs its channels.
    fn close_others(&self, channels: &[&Channel]) -> Result<(), SpawnError>;

    /// Lives it; the answer is the exit code.
    fn live(self, channel: Channel) -> i32;
}

/// What the child begins in.
#[derive(Debug, Default)]
pub(crate) struct Entrance {
    pub(crate) user: Option<OwnedFd>,
    pub(crate) mount: Option<OwnedFd>,
    /// A root directory, where none comes with a mount namespace.
    pub(crate) root: Option<OwnedFd>,
    pub(crate) pid: Option<OwnedFd>,
    /// A group of version 2.
    pub(crate) group: Option<OwnedFd>,
}

impl Entrance {
    /// Makes a child of the caller that begins here, and in new namespaces by `flags`. It has its [rank], and nobody
    /// inside can look into it. The second answer is whether it is in the group.
    pub(crate) fn spawn(
        mut self,
        flags: u64,
        program: &Program,
        channel: &Channel,
        mut theirs: Channel,
        life: impl Life,
    ) -> Result<(Child, bool), SpawnError> {
        let step = "start process";
        let group = self.group.take();
        let stand_in = move || {
            theirs.let_go_of_peer();
            match self.stand_in(flags, program, &theirs, life) {
                Ok(pid) => theirs.report(&Report::Made { pid }).map_or(1, |()| 0),
                Err(error) => {
                    theirs.report_failure(&error);
                    1
                }
            }
        };
        // In the group it is born itself, and hands that on: those inside must not find the way to it in its child.
        let (stand_in, inside) = match group {
            Some(group) => process::spawn_into(group.as_fd(), 0, stand_in),
            None => process::spawn(0, stand_in).map(|child| (child, false)),
        }
        .during(step)?;
        // In a group that somebody suspends just now it gets no further.
        let made = channel.next(STEP_LIMIT).inspect_err(|_| end(&stand_in))?;
        stand_in.wait().during("wait for stand-in")?;
        match made {
            Some(Report::Made { pid }) => Ok((Child::adopt(pid).during(step)?, inside)),
            Some(other) => Err(io::Error::other(format!("stand-in reported {other:?}"))).during(step),
            None => Err(io::Error::other("the process that was to make it has been killed")).during(step),
        }
    }

    fn stand_in(
        self,
        flags: u64,
        program: &Program,
        theirs: &Channel,
        life: impl Life,
    ) -> Result<i32, SpawnError> {
        let step = "start process";
        rank(program, std::process::id().cast_signed())?;
        nix::sys::prctl::set_dumpable(false).during("hide memory")?;
        self.enter()?;
        let second = Channel::over(theirs.as_fd().try_clone_to_owned().during(step)?);
        // What the child has open, those inside can walk to from the moment that it is there.
        drop(self);
        life.close_others(&[theirs, &second])?;
        process::spawn_sibling(flags, move || life.live(second)).during(step)
    }

    /// What is open of it in the process that enters by itself.
    pub(crate) fn descriptors(&self) -> impl Iterator<Item = BorrowedFd<'_>> {
        [&self.user, &self.mount, &self.root, &self.pid].into_iter().flatten().map(AsFd::as_fd)
    }

    /// Brings the calling process in. Of a namespace of process ids it is not, but its children are.
    pub(crate) fn enter(&self) -> Result<(), SpawnError> {
        let join = |namespace: &Option<OwnedFd>, kind: Kind| {
            let Some(namespace) = namespace else { return Ok(()) };
            namespace::enter(namespace.as_fd(), kind).during(format!("join {} namespace", kind.file()))
        };
        let user_first = gains_rights_by_entering();
        if user_first {
            join(&self.user, Kind::User)?;
        }
        join(&self.mount, Kind::Mount)?;
        if let Some(root) = &self.root {
            new_root::change_to(root.as_fd()).during("change root")?;
        }
        join(&self.pid, Kind::Pid)?;
        match user_first {
            true => Ok(()),
            false => join(&self.user, Kind::User),
        }
    }
}

/// Whether the other namespaces of a container can only be entered from its user namespace. Whoever has rights
/// outside enters those first, which may belong to somebody else.
pub(crate) fn gains_rights_by_entering() -> bool {
    !caps::has_cap(None, CapSet::Effective, Capability::CAP_SYS_ADMIN).unwrap_or(false)
}

//! A process that enters namespaces in the caller's place, and makes a child that begins in them.
//!
//! The caller could not come back from there: whoever enters a user namespace has no rights left outside.

use crate::channel::{Channel, Report};
use crate::create::{STEP_LIMIT, rank};
use crate::error::{During, SpawnError};
use crate::program::Program;
use caps::{CapSet, Capability};
use edgelet_sys::namespace::{self, Kind};
use edgelet_sys::process::{self, Child};
use std::io;
use std::os::fd::{AsFd, OwnedFd};

/// Makes a child of the caller that begins in these namespaces, and in new ones by `flags`. It has its
/// [rank], and nobody inside can look into it.
pub(crate) fn spawn_inside(
    user: OwnedFd,
    pid: Option<OwnedFd>,
    flags: u64,
    program: &Program,
    channel: &Channel,
    mut theirs: Channel,
    live: impl FnOnce(Channel) -> i32,
) -> Result<Child, SpawnError> {
    let step = "start process";
    let stand_in = process::spawn(0, move || {
        theirs.let_go_of_peer();
        let entered = rank(program, std::process::id().cast_signed())
            .and_then(|()| nix::sys::prctl::set_dumpable(false).during("hide memory"))
            .and_then(|()| enter(&user, pid.as_ref()));
        let made = entered.and_then(|()| {
            let second = Channel::over(theirs.as_fd().try_clone_to_owned().during(step)?);
            process::spawn_sibling(flags, move || live(second)).during(step)
        });
        match made.and_then(|pid| theirs.report(&Report::Made(pid))) {
            Ok(()) => 0,
            Err(error) => {
                theirs.report_failure(&error);
                1
            }
        }
    })
    .during(step)?;
    let made = channel.next(STEP_LIMIT);
    stand_in.wait().during("wait for stand-in")?;
    match made? {
        Some(Report::Made(pid)) => Child::adopt(pid).during(step),
        other => Err(io::Error::other(format!("stand-in reported {other:?}"))).during(step),
    }
}

/// Its children are in a namespace of process ids that it enters; it is not.
fn enter(user: &OwnedFd, pid: Option<&OwnedFd>) -> Result<(), SpawnError> {
    let join = |namespace: &OwnedFd, kind: Kind| {
        namespace::enter(namespace.as_fd(), kind).during(format!("join {} namespace", kind.file()))
    };
    if gains_rights_by_entering() {
        join(user, Kind::User)?;
        return pid.map_or(Ok(()), |pid| join(pid, Kind::Pid));
    }
    pid.map_or(Ok(()), |pid| join(pid, Kind::Pid))?;
    join(user, Kind::User)
}

/// Whether the other namespaces of a container can only be entered from its user namespace. Whoever has rights
/// outside enters those first, which may belong to somebody else.
pub(crate) fn gains_rights_by_entering() -> bool {
    !caps::has_cap(None, CapSet::Effective, Capability::CAP_SYS_ADMIN).unwrap_or(false)
}

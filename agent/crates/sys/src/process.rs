//! Processes: making them in new namespaces, holding them by descriptor, waiting, and getting ready to
//! execute a program.

use crate::interruption;
use nix::errno::Errno;
use nix::poll::{PollFd, PollFlags, PollTimeout};
use std::io;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, FromRawFd, OwnedFd, RawFd};
use std::time::Duration;

/// A child of the calling process. Dropping it neither kills nor waits.
#[derive(Debug)]
pub struct Child {
    pid: i32,
    pidfd: OwnedFd,
}

/// How a process ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum End {
    /// It returned this code.
    Exited(i32),
    /// This signal killed it.
    Killed(i32),
}

impl End {
    /// One number for both, as shells have it: the code, or 128 plus the signal.
    pub fn code(self) -> i32 {
        match self {
            End::Exited(code) => code,
            End::Killed(signal) => 128 + signal,
        }
    }
}

/// Copies the calling process into new namespaces, given as `CLONE_NEW*` flags. The copy runs `main`
/// and ends with the code that it returns; it never returns from here, not even by a panic.
///
/// # Errors
/// `EDEADLK` when the calling process has more than one thread: a copy of a lock that another thread
/// holds would never be released. This is what makes the function safe to call.
pub fn spawn(namespaces: u64, main: impl FnOnce() -> i32) -> io::Result<Child> {
    assert_one_thread()?;
    match clone_with(namespaces & NAMESPACE_FLAGS, None)? {
        Some(child) => Ok(child),
        None => run_and_exit(main),
    }
}

/// As [`spawn`], and the copy begins in this group of a cgroup2 tree, given as its open directory. The second
/// answer is whether it did: a sandbox may have no clone3(2).
pub fn spawn_into(
    group: BorrowedFd<'_>,
    namespaces: u64,
    main: impl FnOnce() -> i32,
) -> io::Result<(Child, bool)> {
    assert_one_thread()?;
    let flags = namespaces & NAMESPACE_FLAGS;
    let (born, begun_inside) = match clone_with(flags, Some(group)) {
        // There may be no room for one more in the group, which those who are moved into it are not asked for.
        Err(error) if matches!(error.raw_os_error(), Some(libc::ENOSYS | libc::EAGAIN)) => {
            (clone_with(flags, None)?, false)
        }
        other => (other?, true),
    };
    match born {
        Some(child) => Ok((child, begun_inside)),
        None => run_and_exit(main),
    }
}

/// As [`spawn`], but the copy is a child of the caller's parent. The answer is its process id as the caller sees it.
pub fn spawn_sibling(namespaces: u64, main: impl FnOnce() -> i32) -> io::Result<i32> {
    assert_one_thread()?;
    match clone_with((namespaces & NAMESPACE_FLAGS) | libc::CLONE_PARENT as u64, None)? {
        Some(child) => Ok(child.pid),
        None => run_and_exit(main),
    }
}

/// As [`spawn`], in the caller's namespaces and with its descriptors, not copies of them: what one opens, the
/// other has.
pub(crate) fn spawn_with_our_descriptors(main: impl FnOnce() -> i32) -> io::Result<Child> {
    assert_one_thread()?;
    match clone_with(libc::CLONE_FILES as u64, None)? {
        Some(child) => Ok(child),
        None => run_and_exit(main),
    }
}

fn run_and_exit(main: impl FnOnce() -> i32) -> ! {
    interruption::forget();
    let code = std::panic::catch_unwind(std::panic::AssertUnwindSafe(main)).unwrap_or(PANICKED);
    // SAFETY: ends the process without running what the parent registered to be run at its exit.
    unsafe { libc::syscall(libc::SYS_exit_group, code) };
    // A filter forbids even that; a C library would try again for ever. A fault cannot be forbidden.
    std::process::abort()
}

/// The exit code of a panic, as Rust programs have it.
const PANICKED: i32 = 101;

const NAMESPACE_FLAGS: u64 = (libc::CLONE_NEWNS
    | libc::CLONE_NEWCGROUP
    | libc::CLONE_NEWUTS
    | libc::CLONE_NEWIPC
    | libc::CLONE_NEWUSER
    | libc::CLONE_NEWPID
    | libc::CLONE_NEWNET) as u32 as u64;

fn clone_with(flags: u64, group: Option<BorrowedFd<'_>>) -> io::Result<Option<Child>> {
    const INTO_CGROUP: u64 = 0x2_0000_0000;
    let flags = flags | libc::CLONE_PIDFD as u64 | if group.is_some() { INTO_CGROUP } else { 0 };
    let mut pidfd: RawFd = -1;
    let arguments = CloneArguments {
        flags,
        pidfd: (&raw mut pidfd) as u64,
        // With CLONE_PARENT the kernel takes the parent's exit signal and insists on none here.
        exit_signal: match flags & libc::CLONE_PARENT as u64 {
            0 => libc::SIGCHLD as u64,
            _ => 0,
        },
        cgroup: group.map_or(0, |group| u64::from(group.as_raw_fd().unsigned_abs())),
        ..CloneArguments::default()
    };
    // SAFETY: without CLONE_VM the child has its own copy of the memory and returns here on its own
    // copy of the stack, as with fork(2). `arguments` and `pidfd` outlive the call.
    let pid = unsafe { libc::syscall(libc::SYS_clone3, &raw const arguments, size_of::<CloneArguments>()) };
    let pid = match Errno::result(pid) {
        // Older kernels, and sandboxes that cannot look into the structure of clone3.
        Err(Errno::ENOSYS) if group.is_none() => {
            let flags = flags | arguments.exit_signal;
            // SAFETY: as above; a null stack means a copy of the caller's. The third argument is where
            // the descriptor goes, on every architecture; the others are unused without their flags.
            let pid =
                unsafe { libc::syscall(libc::SYS_clone, flags as libc::c_ulong, 0, &raw mut pidfd, 0, 0) };
            Errno::result(pid)?
        }
        other => other?,
    };
    match i32::try_from(pid) {
        Ok(0) => Ok(None),
        // SAFETY: the kernel stored a new descriptor here before it returned to the parent.
        Ok(pid) => Ok(Some(Child { pid, pidfd: unsafe { OwnedFd::from_raw_fd(pidfd) } })),
        Err(_) => Err(Errno::EOVERFLOW.into()),
    }
}

/// `struct clone_args`, its third version (Linux 5.7).
#[repr(C)]
#[derive(Default)]
struct CloneArguments {
    flags: u64,
    pidfd: u64,
    child_tid: u64,
    parent_tid: u64,
    exit_signal: u64,
    stack: u64,
    stack_size: u64,
    tls: u64,
    set_tid: u64,
    set_tid_size: u64,
    cgroup: u64,
}

/// Whether the calling process may copy itself: `EDEADLK` when it has more than one thread.
pub fn assert_one_thread() -> io::Result<()> {
    // Leaving the thread group changes nothing for the only thread, and others forbid it (unshare(2)). No file
    // is asked: what is at `/proc` may be a container's.
    // SAFETY: no pointers are passed.
    match Errno::result(unsafe { libc::unshare(libc::CLONE_THREAD) }) {
        Err(Errno::EINVAL) => Err(Errno::EDEADLK.into()),
        other => Ok(other.map(drop)?),
    }
}

impl Child {
    /// Takes hold of a child whose id somebody else reported. The caller must know that it is a child
    /// of the calling process that has not been waited for: only then can the id not be another's.
    pub fn adopt(pid: i32) -> io::Result<Self> {
        Ok(Self { pid, pidfd: pidfd_open(pid)? })
    }

    /// The process id, as seen by the parent.
    pub fn pid(&self) -> i32 {
        self.pid
    }

    /// Sends a signal.
    pub fn signal(&self, signal: i32) -> io::Result<()> {
        pidfd_signal(self.pidfd.as_fd(), signal)
    }

    /// Waits until it ends. Never misses one that ended at once.
    pub fn wait(&self) -> io::Result<End> {
        // Not nix's: it has no names for real-time signals, and fails for a child that one of them killed
        // although the child is collected by then.
        let fd = self.pidfd.as_raw_fd().cast_unsigned();
        // SAFETY: a plain C structure, for which all zeros is a value.
        let mut info: libc::siginfo_t = unsafe { std::mem::zeroed() };
        loop {
            // SAFETY: `info` outlives the call and is the only pointer passed.
            match Errno::result(unsafe { libc::waitid(libc::P_PIDFD, fd, &raw mut info, libc::WEXITED) }) {
                Ok(_) => break,
                Err(Errno::EINTR) => {}
                Err(error) => return Err(error.into()),
            }
        }
        // SAFETY: waitid(2) fills in the fields of SIGCHLD, to which the status belongs.
        let status = unsafe { info.si_status() };
        match info.si_code {
            libc::CLD_EXITED => Ok(End::Exited(status)),
            libc::CLD_KILLED | libc::CLD_DUMPED => Ok(End::Killed(status)),
            other => Err(io::Error::other(format!("a child changed in an unknown way: code {other}"))),
        }
    }

    /// Waits until it has ended, without collecting it; `false` when `limit` passed first.
    pub fn ended_within(&self, limit: Duration) -> io::Result<bool> {
        readable_within(self.pidfd.as_fd(), limit)
    }
}

/// Collects children that have ended, up to one that is `kept` for somebody else to wait for.
pub fn collect_others(kept: i32) -> io::Result<()> {
    loop {
        match ended_child(libc::P_ALL, 0, libc::WNOWAIT)? {
            Some(pid) if pid != kept => ended_child(libc::P_PID, pid.unsigned_abs(), 0)?,
            _ => return Ok(()),
        };
    }
}

fn ended_child(kind: libc::idtype_t, id: u32, options: i32) -> io::Result<Option<i32>> {
    // SAFETY: a plain C structure, for which all zeros is a value.
    let mut info: libc::siginfo_t = unsafe { std::mem::zeroed() };
    // SAFETY: `info` outlives the call and is the only pointer passed.
    let found = unsafe { libc::waitid(kind, id, &raw mut info, libc::WEXITED | libc::WNOHANG | options) };
    match Errno::result(found) {
        // SAFETY: waitid(2) fills in the fields of SIGCHLD, to which the id belongs, or leaves zeros.
        Ok(_) => Ok(Some(unsafe { info.si_pid() }).filter(|pid| *pid != 0)),
        Err(Errno::ECHILD) => Ok(None),
        Err(error) => Err(error.into()),
    }
}

impl From<Child> for OwnedFd {
    fn from(child: Child) -> OwnedFd {
        child.pidfd
    }
}

impl AsFd for Child {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.pidfd.as_fd()
    }
}

/// Opens a process by id; `ESRCH` when there is none.
pub fn pidfd_open(pid: i32) -> io::Result<OwnedFd> {
    // SAFETY: no pointers are passed.
    let fd = Errno::result(unsafe { libc::syscall(libc::SYS_pidfd_open, pid, 0) });
    let fd = fd.map_err(|error| match error {
        // The id is a thread's by now, or its process is just being collected: EINVAL before Linux 6.15.
        Errno::ENOENT | Errno::EINVAL => Errno::ESRCH,
        other => other,
    })?;
    let fd = RawFd::try_from(fd).map_err(|_| Errno::EBADF)?;
    // SAFETY: the kernel just returned this descriptor.
    Ok(unsafe { OwnedFd::from_raw_fd(fd) })
}

/// Sends a signal to an open process; `ESRCH` when it has been waited for.
pub fn pidfd_signal(process: BorrowedFd<'_>, signal: i32) -> io::Result<()> {
    let null = std::ptr::null::<libc::siginfo_t>();
    // SAFETY: a null siginfo is allowed and means the same as kill(2).
    let sent = unsafe { libc::syscall(libc::SYS_pidfd_send_signal, process.as_raw_fd(), signal, null, 0) };
    Ok(Errno::result(sent).map(drop)?)
}

/// Waits until a descriptor is readable or at its end; `false` when `limit` passed first. A process
/// is readable when it has ended. `Interrupted` when an [`Interruption`](crate::interruption::Interruption) came first.
pub fn readable_within(fd: BorrowedFd<'_>, limit: Duration) -> io::Result<bool> {
    let deadline = std::time::Instant::now() + limit;
    loop {
        let left = deadline.saturating_duration_since(std::time::Instant::now());
        let timeout = PollTimeout::try_from(left).unwrap_or(PollTimeout::MAX);
        let watched = [Some(fd), interruption::watched()].into_iter().flatten();
        let mut polled: Vec<PollFd<'_>> = watched.map(|fd| PollFd::new(fd, PollFlags::POLLIN)).collect();
        match nix::poll::poll(&mut polled, timeout) {
            Ok(0) => return Ok(false),
            Ok(_) if polled[0].any().unwrap_or(true) => return Ok(true),
            Ok(_) => return Err(interruption::interrupted()),
            Err(Errno::EINTR) => {}
            Err(error) => return Err(error.into()),
        }
    }
}

/// When a process started, in clock ticks after boot (proc(5), stat, field 22), and whether it still
/// lives. A process id and a start time together are never used twice.
pub fn start_time(pid: i32) -> io::Result<Option<u64>> {
    Ok(stat(pid)?.as_deref().and_then(parse_start_time))
}

fn stat(pid: i32) -> io::Result<Option<String>> {
    match std::fs::read_to_string(format!("/proc/{pid}/stat")) {
        // ESRCH: it went away between open and read.
        Err(error)
            if error.kind() == io::ErrorKind::NotFound || error.raw_os_error() == Some(libc::ESRCH) =>
        {
            Ok(None)
        }
        other => other.map(Some),
    }
}

/// The name in field 2 may hold anything, also parentheses; the last one ends it.
fn parse_start_time(stat: &str) -> Option<u64> {
    let (_, rest) = stat.rsplit_once(')')?;
    let mut fields = rest.split_ascii_whitespace();
    match fields.next()? {
        "Z" | "X" | "x" => None,
        _ => fields.nth(18)?.parse().ok(),
    }
}

/// Whether a process has executed a program since it was made (`PF_FORKNOEXEC` in proc(5), stat, field 9); `None` when
/// it is gone. Nothing that it does itself changes that.
pub fn has_executed(pid: i32) -> io::Result<Option<bool>> {
    Ok(stat(pid)?.as_deref().and_then(parse_has_executed))
}

fn parse_has_executed(stat: &str) -> Option<bool> {
    const FORK_NO_EXEC: u32 = 0x40;
    let flags: u32 = stat.rsplit_once(')')?.1.split_ascii_whitespace().nth(6)?.parse().ok()?;
    Some(flags & FORK_NO_EXEC == 0)
}

/// Sets a resource limit of a process, in the resource's own unit; `u64::MAX` is unlimited.
pub fn set_limit(pid: i32, resource: u32, soft: u64, hard: u64) -> io::Result<()> {
    let limit = [soft, hard];
    let null = std::ptr::null_mut::<u64>();
    // SAFETY: `struct rlimit64` is two 64-bit numbers, soft then hard; the old value is not asked for.
    let set = unsafe { libc::syscall(libc::SYS_prlimit64, pid, resource, limit.as_ptr(), null) };
    Ok(Errno::result(set).map(drop)?)
}

/// Gives every signal its default action and blocks none, as a new program expects. Rust programs
/// ignore SIGPIPE, and an ignored signal stays ignored across exec.
pub fn default_signals() -> io::Result<()> {
    // `struct kernel_sigaction` is a handler, flags, a restorer where there is one, and a mask of 8
    // bytes, in an order that depends on the architecture; all zeros is the default action in each.
    const LARGEST: usize = 32;
    const MASK_BYTES: usize = 8;
    let default = [0_u8; LARGEST];
    for signal in 1..=64 {
        // Not sigaction(3): the C library keeps two signals to itself and refuses to reset them.
        // SAFETY: the kernel reads at most LARGEST bytes, and the default action runs none of our code.
        // SIGKILL and SIGSTOP cannot be changed, and need not be.
        unsafe {
            libc::syscall(
                libc::SYS_rt_sigaction,
                signal,
                default.as_ptr(),
                std::ptr::null_mut::<u8>(),
                MASK_BYTES,
            )
        };
    }
    Ok(nix::sys::signal::SigSet::empty().thread_set_mask()?)
}

/// Has a command begin with [`default_signals`].
pub fn with_default_signals(command: &mut std::process::Command) {
    // SAFETY: between fork and exec this makes system calls and nothing else.
    unsafe { std::os::unix::process::CommandExt::pre_exec(command, default_signals) };
}

/// Has children that end be forgotten at once, instead of kept until they are waited for; or no longer.
pub fn let_children_vanish(vanish: bool) -> io::Result<()> {
    use nix::sys::signal::{SigHandler, Signal, signal};
    let handler = if vanish { SigHandler::SigIgn } else { SigHandler::SigDfl };
    // SAFETY: neither of the two runs any of our code.
    unsafe { signal(Signal::SIGCHLD, handler) }?;
    Ok(())
}

/// Joins a new, empty session keyring, so that the caller's keys stay out of reach. A kernel without
/// keyrings, or a sandbox that forbids them, has nothing to hide.
pub fn new_session_keyring() -> io::Result<()> {
    const KEYCTL_JOIN_SESSION_KEYRING: libc::c_ulong = 1;
    let anonymous = std::ptr::null::<libc::c_char>();
    // SAFETY: a null name is allowed and means an anonymous keyring.
    let joined = unsafe { libc::syscall(libc::SYS_keyctl, KEYCTL_JOIN_SESSION_KEYRING, anonymous) };
    match Errno::result(joined) {
        Err(Errno::ENOSYS | Errno::EPERM) => Ok(()),
        other => Ok(other.map(drop)?),
    }
}

/// An anonymous file in memory, such as for the standard input of a short-lived child.
pub fn memory_file(name: &std::ffi::CStr) -> io::Result<std::fs::File> {
    // SAFETY: `name` is a C string that outlives the call.
    let fd = Errno::result(unsafe {
        libc::memfd_create(name.as_ptr(), libc::MFD_CLOEXEC | libc::MFD_ALLOW_SEALING)
    })?;
    // SAFETY: the kernel just returned this descriptor.
    Ok(unsafe { std::fs::File::from_raw_fd(fd) })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_start_time_is_found_behind_any_name() {
        let rest = " S 1 2 3 4 5 6 7 8 9 10 11 12 13 14 15 16 17 18 4711 20 21";
        for name in ["cat", "a b", "x) R 1 (y", "))"] {
            assert_eq!(parse_start_time(&format!("12 ({name}){rest}")), Some(4711), "{name}");
        }
        assert_eq!(parse_start_time("12 (cat) Z 1 2 3 4 5 6 7 8 9 10 11 12 13 14 15 16 17 18 4711"), None);
        assert_eq!(parse_start_time("nonsense"), None);
    }

    #[test]
    fn a_copy_has_executed_nothing_until_it_does() {
        let stat = |flags: u32| format!("12 (a) b) S 1 2 3 4 5 {flags} 7 8");
        assert_eq!(parse_has_executed(&stat(4_194_560)), Some(true));
        assert_eq!(parse_has_executed(&stat(4_194_560 | 0x40)), Some(false));
        let ours = has_executed(std::process::id().cast_signed()).expect("stat");
        assert_eq!(ours, Some(true));
    }

    #[test]
    fn the_end_of_a_child_is_told_whichever_signal_killed_it() {
        // 35 is SIGRTMIN+1 as the C libraries count.
        for signal in [libc::SIGTERM, libc::SIGKILL, 35, 64] {
            let child = started("exec sleep 100");
            child.signal(signal).expect("signal");
            let end = child.wait().expect("wait");
            assert_eq!((end, end.code()), (End::Killed(signal), 128 + signal));
        }
        let child = started("exit 7");
        assert_eq!(child.wait().expect("wait"), End::Exited(7));
        assert_eq!(child.wait().expect_err("collected").raw_os_error(), Some(libc::ECHILD));
    }

    #[expect(clippy::zombie_processes, reason = "the answer is what waits")]
    fn started(script: &str) -> Child {
        let child = std::process::Command::new("sh").args(["-c", script]).spawn().expect("a shell");
        Child::adopt(child.id().cast_signed()).expect("adopt")
    }

    #[test]
    fn a_number_that_is_now_a_threads_is_no_process() {
        // The test harness runs this function on a second thread.
        let error = pidfd_open(nix::unistd::gettid().as_raw()).expect_err("a thread");
        assert_eq!(error.raw_os_error(), Some(libc::ESRCH));
    }

    #[test]
    fn a_process_with_threads_is_not_copied() {
        // The test harness runs this function on a second thread.
        let error = spawn(0, || 0).expect_err("two threads");
        assert_eq!(error.raw_os_error(), Some(libc::EDEADLK));
    }
}

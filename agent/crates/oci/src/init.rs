//! The first process of a container, from the clone to its program. It runs in a copy of the creator's
//! memory, on one thread, and never returns to the creator's code.

use crate::cgroup::Doors;
use crate::channel::{Channel, Report};
use crate::config::Config;
use crate::error::{During, SpawnError};
use crate::hooks::{self, Moment};
use crate::identity::Identity;
use crate::launch::{Guarded, Launch, set_umask};
use crate::mount_options;
use crate::rootfs::{Rootfs, Way};
use crate::runtime::{State, Status};
use crate::seccomp::Introduction;
use crate::stand_in::Life;
use crate::{cgroup, console, devices, sysctl};
use edgelet_sys::mount::Tree;
use edgelet_sys::namespace::{self, Kind};
use edgelet_sys::{descriptors, process, socket};
use nix::errno::Errno;
use nix::unistd::{Gid, Uid};
use std::convert::Infallible;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

/// What the process is born with.
#[derive(Debug)]
pub(crate) struct Birth<'a> {
    pub(crate) config: &'a Config,
    pub(crate) cgroups: cgroup::View,
    /// Into its control groups.
    pub(crate) doors: Doors,
    /// For hooks. The process id comes from the creator, who knows it.
    pub(crate) state: State,
    /// To whoever decides about system calls.
    pub(crate) introduction: Option<Introduction>,
    /// Where the terminal's master goes.
    pub(crate) console: Option<OwnedFd>,
    /// Where it waits to be started by somebody else than its creator. Nobody inside can reach the name, and the
    /// descriptor goes away with the exec.
    pub(crate) listener: Option<OwnedFd>,
    /// For each of the configuration's mounts, what only the creator could open.
    pub(crate) prepared: Vec<Option<Tree>>,
    /// Devices that only the creator could make.
    pub(crate) devices: Option<Tree>,
    /// A mount namespace to join.
    pub(crate) mounts: Option<OwnedFd>,
    pub(crate) way: Way,
    pub(crate) preserve_fds: u32,
    pub(crate) keep_keyring: bool,
    /// Whether the creator is not root and gives it id mappings.
    pub(crate) is_mapped_by_its_user: bool,
}

impl Birth<'_> {
    /// The filter, if there is one.
    fn guarded(&self) -> Option<Guarded<'_>> {
        let introduction = self.introduction.as_ref();
        let filter = self.config.filter.as_ref()?;
        Some(Guarded { filter, introduction, pid: self.state.pid })
    }
}

impl Life for Birth<'_> {
    fn close_others(&self, channels: &[&Channel]) -> Result<(), SpawnError> {
        let prepared = self.prepared.iter().flatten().chain(&self.devices).map(AsFd::as_fd);
        let others = [&self.console, &self.listener, &self.mounts].into_iter().flatten().map(AsFd::as_fd);
        let others = others.chain(self.introduction.iter().map(AsFd::as_fd));
        let others = others.chain(self.doors.descriptors()).chain(channels.iter().map(AsFd::as_fd));
        let kept: Vec<BorrowedFd<'_>> = prepared.chain(others).collect();
        descriptors::close_others(3 + self.preserve_fds, &kept).during("close descriptors")
    }

    /// Comes back only when nothing came of it.
    fn live(mut self, mut channel: Channel) -> i32 {
        channel.let_go_of_peer();
        let launch = match prepare(&mut self, &channel) {
            Ok(launch) => launch,
            Err(error) => {
                channel.report_failure(&error);
                return FAILED;
            }
        };
        let Some(starter) = starter(&self, channel) else { return FAILED };
        match start(&self, launch) {
            Ok(never) => match never {},
            Err(error) => {
                starter.report_failure(&error);
                FAILED
            }
        }
    }
}

/// Whoever lets the program run, which is also who is told when that fails. `None` when nobody will any more.
fn starter(birth: &Birth<'_>, creator: Channel) -> Option<Channel> {
    let Some(listener) = &birth.listener else { return Some(creator) };
    // From here on the creator may be gone.
    drop(creator);
    let starter = Channel::over(socket::accept(listener.as_fd()).ok()?);
    starter.wait_for_go().ok().map(|()| starter)
}

/// Nobody takes this for the program's own exit code: `create` or `start` has said why.
const FAILED: i32 = 1;

/// Everything that `create` does inside.
fn prepare(birth: &mut Birth<'_>, channel: &Channel) -> Result<Launch, SpawnError> {
    let config = birth.config;
    birth.close_others(&[channel])?;
    process::default_signals().during("reset signals")?;
    std::mem::take(&mut birth.doors).pass()?;
    nix::unistd::setsid().during("new session")?;
    // Neighbours in a shared process-id or user namespace must not look into it, nor at its program. From a creator
    // that is not root it would hide its id mappings, too; that one's other processes are its only neighbours.
    if !birth.is_mapped_by_its_user {
        nix::sys::prctl::set_dumpable(false).during("hide memory")?;
    }
    // The creator maps ids and puts it into control groups.
    birth.state.pid = channel.wait_for_go_as()?;
    enter_namespaces(birth)?;
    let umask = set_umask(0);
    let rootfs =
        Rootfs::furnish(config, &birth.cgroups, std::mem::take(&mut birth.prepared), birth.devices.take())?;
    // Hooks of the creator may count on the mounts.
    if hooks::are_run_by_creator(config.spec.hooks.as_ref()) {
        channel.report(&Report::Furnished)?;
        channel.wait_for_go()?;
    }

    sysctl::apply(&config.linux)?;
    if let Some(socket) = birth.console.take() {
        let pair = console::open(rootfs.dir(), config.program.size).during("open terminal")?;
        if rootfs.takes_mounts() {
            devices::mount_console(rootfs.dir(), &pair.slave).during("mount console")?;
        }
        console::send_master(socket, pair.master).during("send terminal")?;
        console::take(&pair.slave, config.program.identity.uid).during("take terminal")?;
    }
    set_umask(umask);
    hooks::run(config.spec.hooks.as_ref(), Moment::CreateContainer, &seen_inside(&birth.state))?;
    set_umask(0);
    rootfs.protect(config)?;
    let propagation = config.linux.rootfs_propagation.as_deref().filter(|word| !word.is_empty());
    let propagation = propagation.and_then(|word| mount_options::root_propagation(word).ok());
    rootfs.enter(&birth.way, propagation)?;
    if !birth.keep_keyring {
        process::new_session_keyring().during("new session keyring")?;
    }
    config.nature.assume()?;
    let launch = Launch::prepare(&config.program)?;
    if let Some(guarded) = birth.guarded().filter(|_| birth.introduction.is_some()) {
        launch.settle(&config.program, &guarded)?;
    }
    channel.report(&Report::Ready)?;
    // The creator sets limits and writes the state.
    channel.wait_for_go()?;
    Ok(launch)
}

/// Everything that `start` does inside.
fn start(birth: &Birth<'_>, launch: Launch) -> Result<Infallible, SpawnError> {
    let config = birth.config;
    let mut state = seen_inside(&birth.state);
    state.status = Status::Created;
    // They run as the program would, and in its environment.
    let last = || {
        let hooks = config.spec.hooks.as_ref();
        hooks::run_with(hooks, Moment::StartContainer, &state, &config.program.env)
    };
    match birth.introduction.is_some() {
        // The filter is in force since the container was created.
        true => last().and_then(|()| launch.execute(&config.program)),
        false => launch.run(&config.program, birth.guarded(), last),
    }
}

/// Hooks in the container's namespaces are told its process as it is seen there (OCI runtime-spec 1.3, runtime.md,
/// "State").
fn seen_inside(state: &State) -> State {
    State { pid: std::process::id().cast_signed(), ..state.clone() }
}

fn enter_namespaces(birth: &mut Birth<'_>) -> Result<(), SpawnError> {
    let config = birth.config;
    let namespaces = &config.namespaces;
    if namespaces.has(Kind::User) {
        become_root_inside(&config.program.identity)?;
        if birth.is_mapped_by_its_user {
            // That user could not join its namespaces otherwise. Nobody else is inside yet.
            nix::sys::prctl::set_dumpable(true).during("show namespaces")?;
        }
    }
    if let Some(mounts) = birth.mounts.take() {
        namespace::enter(mounts.as_fd(), Kind::Mount).during("join mount namespace")?;
    }
    if namespaces.is_new(Kind::Cgroup) {
        // Only now, so that its root is the container's group.
        namespace::unshare(Kind::Cgroup.flag()).during("new cgroup namespace")?;
    }
    if namespaces.is_new(Kind::Network) {
        namespace::loopback_up().during("switch on loopback")?;
    }
    if let Some(name) = config.spec.hostname.as_deref().filter(|name| !name.is_empty()) {
        nix::unistd::sethostname(name).during(format!("set hostname {name}"))?;
    }
    if let Some(name) = config.spec.domainname.as_deref().filter(|name| !name.is_empty()) {
        namespace::set_domain_name(name).during(format!("set domainname {name}"))?;
    }
    Ok(())
}

/// In a user namespace nobody is anybody until an id is taken; files made by nobody are refused. Where there is no root,
/// it is that of the program. Who is somebody from the beginning, because only that one was mapped, stays who it is.
pub(crate) fn become_root_inside(program: &Identity) -> Result<(), SpawnError> {
    let group = |id: u32| nix::unistd::setresgid(Gid::from_raw(id), Gid::from_raw(id), Gid::from_raw(id));
    let user = |id: u32| nix::unistd::setresuid(Uid::from_raw(id), Uid::from_raw(id), Uid::from_raw(id));
    become_one_of(group, [0, program.gid]).during("become group 0 of the user namespace")?;
    become_one_of(user, [0, program.uid]).during("become user 0 of the user namespace")?;
    nix::sys::prctl::set_dumpable(false).during("hide memory")
}

/// The first that there is.
fn become_one_of(r#become: impl Fn(u32) -> nix::Result<()>, ids: [u32; 2]) -> nix::Result<()> {
    for id in ids {
        match r#become(id) {
            Err(Errno::EINVAL) => {}
            other => return other,
        }
    }
    Ok(())
}

//! A further process in a running container.

use crate::cgroup::Doors;
use crate::channel::{Channel, Report};
use crate::config::Config;
use crate::create::{STEP_LIMIT, constrain, end, rank, write_pid_file};
use crate::error::{ControlError, During, ExecError, SpawnError};
use crate::init::become_root_inside;
use crate::labels::Modules;
use crate::launch::{Guarded, Launch, hand_over_streams, set_umask};
use crate::options::{Changes, ExecOptions, ExecProcess};
use crate::program::Program;
use crate::record::{Entry, Record};
use crate::runtime::{Process, Runtime, Status};
use crate::schedule::Nature;
use crate::seccomp::{Filter, Introduction};
use crate::stand_in::{Entrance, Life, gains_rights_by_entering};
use crate::{Id, console, identity, refuse};
use edgelet_sys::descriptors;
use edgelet_sys::namespace::{self, Kind};
use edgelet_sys::process::{self, Child};
use edgelet_sys::root::RootDir;
use std::convert::Infallible;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::Path;
use std::time::Duration;

/// See [`Runtime::exec`].
pub(crate) fn exec(runtime: &Runtime, id: &Id, options: &ExecOptions) -> Result<Process, ExecError> {
    process::assert_one_thread().during("start from a process with threads")?;
    let entry = Entry::new(runtime.root(), id);
    let record = entry.read()?;
    let mut inside = Some(entry.come_in()?);
    let mut limit = STEP_LIMIT;
    match entry.status(&record)?.0 {
        Status::Running | Status::Created => {}
        Status::Paused if options.ignore_paused => {
            inside = None;
            limit = UNTIL_RESUMED;
        }
        Status::Stopped => return Err(ControlError::NotRunning(id.clone()).into()),
        status => return Err(ControlError::WrongState { id: id.clone(), status, verb: "exec in" }.into()),
    }
    let config = entry.config(&record)?;
    let mut program = program(&options.process, &config)?;
    program.labels.keep_known(Modules::find());
    console::check(program.terminal, options.console.as_ref()).map_err(ExecError::Invalid)?;
    let join = join(&record, id)?;
    let cgroup = record.cgroup(id)?;
    let cgroup = match &options.cgroup {
        Some(below) => cgroup.below(below)?,
        None => cgroup.beside(join.init),
    };

    hand_over_streams(&config, &program)?;
    let (channel, theirs) = Channel::pair()?;
    let decider = config.filter.as_ref().and_then(|filter| filter.decider.as_ref());
    let state = record.state(Status::Running, join.init);
    let entrant = Entrant {
        program: &program,
        filter: config.filter.as_ref(),
        introduction: decider.map(|decider| Introduction::prepare(decider, state)).transpose()?,
        nature: &config.nature,
        entrance: Entrance::default(),
        in_user_namespace: join.entrance.user.is_some()
            || join.inside.iter().any(|(kind, _)| *kind == Kind::User),
        namespaces: join.inside,
        console: options.console.as_ref().map(|console| console.connect()).transpose()?,
        doors: cgroup.doors()?,
        preserve_fds: options.preserve_fds,
    };
    // From a user namespace there may be no right to be born there; and in a group that is suspended, or full, a
    // stand-in would not get far.
    let born_outside = program.schedule.begins_outside()
        || join.entrance.user.is_some()
        || inside.is_none()
        || !cgroup.takes_births();
    let group = if born_outside { None } else { cgroup.birthplace()? };
    let entrance = Entrance { group, ..join.entrance };
    let (child, born_inside) = match spawn(entrant, entrance, &channel, theirs) {
        Err(error) => return Err(ended_meanwhile(&record, id).unwrap_or(error.into())),
        Ok(born) => born,
    };
    let finished = (|| {
        program.schedule.begin(child.pid())?;
        if !born_inside {
            cgroup.join_unified(child.pid())?;
        }
        channel.go_as(child.pid())?;
        channel.expect(Report::Ready, limit)?;
        program.schedule.settle(child.pid())?;
        constrain(&program, child.pid())?;
        if let Some(path) = &options.pid_file {
            write_pid_file(path, child.pid())?;
        }
        channel.go()?;
        match channel.next(limit)? {
            None => Ok(()),
            Some(report) => Err(std::io::Error::other(format!("{report:?}"))).during("unexpected report"),
        }
    })();
    drop(inside);
    match finished {
        Ok(()) => Ok(Process::new(child)),
        Err(error) => {
            end(&child);
            Err(ended_meanwhile(&record, id).unwrap_or(error.into()))
        }
    }
}

/// In a container that is suspended a process starts when that one is resumed: some day, at most these years.
const UNTIL_RESUMED: Duration = Duration::from_secs(10 * 365 * 86_400);

/// Where the container has ended, everything may have gone wrong with an exec, and that is why.
fn ended_meanwhile(record: &Record, id: &Id) -> Option<ExecError> {
    let lives = record.open_init().ok()?.is_some();
    (!lives).then(|| ControlError::NotRunning(id.clone()).into())
}

/// Starts the process where it can begin among those of the container, and in its group where it can be born there; the
/// second answer is whether it was.
fn spawn(
    entrant: Entrant<'_>,
    mut entrance: Entrance,
    channel: &Channel,
    mut theirs: Channel,
) -> Result<(Child, bool), SpawnError> {
    let program = entrant.program;
    if entrance.pid.is_some() || entrance.user.is_some() {
        return entrance.spawn(0, program, channel, theirs, entrant);
    }
    // Its processes are among the host's, and see the calling one, too.
    let group = entrance.group.take();
    let entrant = Entrant { entrance, ..entrant };
    let live = move || {
        theirs.let_go_of_peer();
        entrant.live(theirs)
    };
    let born = match group {
        Some(group) => process::spawn_into(group.as_fd(), 0, live),
        None => process::spawn(0, live).map(|child| (child, false)),
    }
    .during("start process")?;
    rank(program, born.0.pid()).inspect_err(|_| end(&born.0))?;
    Ok(born)
}

/// The container's namespaces that differ from the caller's.
struct Join {
    /// The container's first process.
    init: i32,
    /// What the process begins in; for users only where there is no other way into the others.
    entrance: Entrance,
    /// Entered by the process itself, in this order.
    inside: Vec<(Kind, OwnedFd)>,
}

fn join(record: &Record, id: &Id) -> Result<Join, ExecError> {
    let gone = || ControlError::NotRunning(id.clone());
    let (init, held) = record.open_init().during("open init")?.ok_or_else(gone)?;
    let mut join = Join { init: init.pid, entrance: Entrance::default(), inside: Vec::new() };
    // The user namespace last: joining the others takes rights that are given up with it.
    for kind in Kind::ALL.into_iter().rev() {
        let theirs = Path::new("/proc").join(init.pid.to_string()).join("ns").join(kind.file());
        let step = || format!("open {} namespace of {}", kind.file(), init.pid);
        let theirs = match namespace::open(&theirs, kind) {
            // The kernel has no such kind.
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => continue,
            other => other.during(step())?,
        };
        let ours = namespace::open(&Path::new("/proc/self/ns").join(kind.file()), kind).during(step())?;
        match (same(&theirs, &ours).during(step())?, kind) {
            (true, Kind::Mount) => {
                let root = Path::new("/proc").join(init.pid.to_string()).join("root");
                join.entrance.root =
                    Some(std::fs::File::open(root).during("open the container's root")?.into());
            }
            (true, _) => {}
            (false, Kind::Pid) => join.entrance.pid = Some(theirs),
            (false, Kind::Mount) => join.entrance.mount = Some(theirs),
            (false, Kind::User) if gains_rights_by_entering() => join.entrance.user = Some(theirs),
            (false, kind) => join.inside.push((kind, theirs)),
        }
    }
    // The process whose id was used in the paths was still the same all the time.
    match process::readable_within(held.as_fd(), std::time::Duration::ZERO).during("look at init")? {
        true => Err(gone().into()),
        false => Ok(join),
    }
}

fn same(one: &OwnedFd, other: &OwnedFd) -> nix::Result<bool> {
    use std::os::fd::AsRawFd;
    let (one, other) = (nix::sys::stat::fstat(one.as_raw_fd())?, nix::sys::stat::fstat(other.as_raw_fd())?);
    Ok((one.st_dev, one.st_ino) == (other.st_dev, other.st_ino))
}

/// The process between the clone and its program.
struct Entrant<'a> {
    program: &'a Program,
    filter: Option<&'a Filter>,
    introduction: Option<Introduction>,
    nature: &'a Nature,
    /// Entered first, unless it began there.
    entrance: Entrance,
    namespaces: Vec<(Kind, OwnedFd)>,
    /// Whether one of the namespaces, entered before or among these, is for users.
    in_user_namespace: bool,
    console: Option<OwnedFd>,
    /// Into the container's control groups.
    doors: Doors,
    preserve_fds: u32,
}

impl Life for Entrant<'_> {
    fn close_others(&self, channels: &[&Channel]) -> Result<(), SpawnError> {
        let namespaces = self.namespaces.iter().map(|(_, namespace)| namespace.as_fd());
        let others = self.entrance.descriptors().chain(self.console.iter().map(AsFd::as_fd));
        let others = others.chain(self.introduction.iter().map(AsFd::as_fd));
        let others = others.chain(self.doors.descriptors()).chain(channels.iter().map(AsFd::as_fd));
        let kept: Vec<BorrowedFd<'_>> = namespaces.chain(others).collect();
        descriptors::close_others(3 + self.preserve_fds, &kept).during("close descriptors")
    }

    fn live(self, channel: Channel) -> i32 {
        match self.run(&channel) {
            Ok(never) => match never {},
            Err(error) => {
                channel.report_failure(&error);
                1
            }
        }
    }
}

impl Entrant<'_> {
    fn run(self, channel: &Channel) -> Result<Infallible, SpawnError> {
        self.close_others(&[channel])?;
        process::default_signals().during("reset signals")?;
        nix::unistd::setsid().during("new session")?;
        // What runs inside must not look into it, nor at its program.
        nix::sys::prctl::set_dumpable(false).during("hide memory")?;
        let pid = channel.wait_for_go_as()?;
        // By value: nothing of the host's stays open for those inside.
        let doors = self.doors;
        doors.pass()?;
        drop(doors);
        self.entrance.enter()?;
        drop(self.entrance);
        for (kind, namespace) in &self.namespaces {
            namespace::enter(namespace.as_fd(), *kind).during(format!("join {} namespace", kind.file()))?;
        }
        if self.in_user_namespace {
            become_root_inside(&self.program.identity)?;
        }
        set_umask(0);
        if let Some(socket) = self.console {
            let root = RootDir::open(Path::new("/")).during("open root")?;
            let pair = console::open(&root, self.program.size).during("open terminal")?;
            console::send_master(socket, pair.master).during("send terminal")?;
            console::take(&pair.slave, self.program.identity.uid).during("take terminal")?;
        }
        process::new_session_keyring().during("new session keyring")?;
        self.nature.assume()?;
        let launch = Launch::prepare(self.program)?;
        channel.report(&Report::Ready)?;
        channel.wait_for_go()?;
        let introduction = self.introduction.as_ref();
        let filter = self.filter.map(|filter| Guarded { filter, introduction, pid });
        launch.run(self.program, filter, || Ok(()))
    }
}

/// What is asked for, checked.
fn program(process: &ExecProcess, config: &Config) -> Result<Program, ExecError> {
    match process {
        ExecProcess::Full(process) => {
            refuse::refuse_in_process(process).map_err(|field| ExecError::NotSupported { field })?;
            Program::parse(process).map_err(ExecError::Invalid)
        }
        ExecProcess::Like(changes) => changed(config, changes).map_err(ExecError::Invalid),
    }
}

/// The container's own process with some of it replaced.
fn changed(config: &Config, changes: &Changes) -> Result<Program, String> {
    let mut process = config.spec.process.clone().ok_or("the container has no process")?;
    let mut env = process.env.take().unwrap_or_default();
    env.retain(|entry| !changes.env.iter().any(|newer| name_of(newer) == name_of(entry)));
    env.extend(changes.env.iter().cloned());
    process.args = Some(changes.args.clone());
    process.env = Some(env);
    process.terminal = Some(changes.terminal);
    process.console_size = None;
    if let Some(cwd) = &changes.cwd {
        process.cwd = cwd.clone();
    }
    if let Some(value) = changes.no_new_privileges {
        process.no_new_privileges = Some(value);
    }
    process.apparmor_profile = changes.apparmor_profile.clone().or(process.apparmor_profile);
    process.selinux_label = changes.selinux_label.clone().or(process.selinux_label);
    let user = &mut process.user;
    if let Some((uid, gid)) = changes.user {
        user.set_uid(uid);
        user.set_gid(gid.unwrap_or(user.gid()));
    }
    let groups = user.additional_gids().iter().flatten().chain(&changes.additional_gids).copied().collect();
    user.set_additional_gids(Some(groups));

    let mut program = Program::parse(&process)?;
    for name in &changes.capabilities {
        let capability = identity::named(name).ok_or_else(|| format!("there is no capability {name:?}"))?;
        let sets = &mut program.identity.capabilities;
        sets.bounding.insert(capability);
        sets.effective.insert(capability);
        sets.permitted.insert(capability);
    }
    Ok(program)
}

fn name_of(entry: &str) -> &str {
    entry.split_once('=').map_or(entry, |(name, _)| name)
}

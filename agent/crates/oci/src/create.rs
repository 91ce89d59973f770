//! Making a container, from the creator's side.

use crate::cgroup::{self, Cgroup, Doors};
use crate::channel::{Channel, Report};
use crate::config::Config;
use crate::console;
use crate::devices;
use crate::error::{ControlError, CreateError, During, RunError, SpawnError};
use crate::hooks::{self, Moment};
use crate::init::Birth;
use crate::labels::Modules;
use crate::launch::hand_over_streams;
use crate::namespaces::Namespaces;
use crate::options::CreateOptions;
use crate::program::Program;
use crate::record::{Entry, Held, Record};
use crate::rootfs::Way;
use crate::runtime::{Runtime, State, Status};
use crate::seccomp::Introduction;
use crate::sources::Sources;
use crate::stand_in::{Entrance, Life, gains_rights_by_entering};
use crate::start;
use crate::sysctl;
use edgelet_sys::kernel;
use edgelet_sys::namespace::{self, Kind};
use edgelet_sys::process::{self, Child};
use edgelet_sys::procfs::Procfs;
use edgelet_sys::socket;
use oci_spec::runtime::Hooks;
use std::os::fd::{AsFd, OwnedFd};
use std::path::Path;
use std::time::Duration;

/// How long the new process may take for one part of its set-up, hooks not counted.
pub(crate) const STEP_LIMIT: Duration = Duration::from_secs(120);

/// See [`Runtime::create`].
pub(crate) fn create(runtime: &Runtime, options: &CreateOptions) -> Result<State, CreateError> {
    make(runtime, options, Start::ByAnybody, |made| {
        made.channel.go()?;
        Ok(made.record.state(Status::Created, made.child.pid()))
    })
}

/// See [`Runtime::run`].
pub(crate) fn run(runtime: &Runtime, options: &CreateOptions) -> Result<State, RunError> {
    make(runtime, options, Start::ByCreator, |made| {
        let state = made.record.state(Status::Running, made.child.pid());
        start::begin(&made.channel, &made.child, made.hooks, &state)?;
        Ok(state)
    })
}

/// Who lets the program run.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Start {
    /// Whoever connects, once.
    ByAnybody,
    /// The process that makes the container, over the same channel.
    ByCreator,
}

/// A container whose first process has done all but the last steps and waits to go on.
#[derive(Debug)]
struct Made<'a> {
    channel: Channel,
    child: Child,
    record: &'a Record,
    hooks: Option<&'a Hooks>,
}

/// Makes a container and finishes it. After a failure, also of `finish`, nothing of it is left.
fn make<E: From<CreateError>>(
    runtime: &Runtime,
    options: &CreateOptions,
    start: Start,
    finish: impl FnOnce(&Made<'_>) -> Result<State, E>,
) -> Result<State, E> {
    let (config, cgroup) = understand(options)?;
    if start == Start::ByCreator && config.spec.process.is_none() {
        return Err(CreateError::Config("there is no process to run".to_owned()).into());
    }
    let (entry, _held) = claim(runtime, options, &cgroup)?;
    let mut record = Record::new(&options.id, &config, &cgroup);
    let made = build(&entry, &mut record, &config, &cgroup, options, start);
    let finished = made.map_err(|error| CreateError::from(error).into()).and_then(|(channel, child)| {
        let made = Made { channel, child, record: &record, hooks: config.spec.hooks.as_ref() };
        finish(&made).inspect_err(|_| end(&made.child))
    });
    if finished.is_err() {
        clear(&entry, &cgroup, &config, &record);
    }
    finished
}

/// What is asked for, checked before anything is touched.
fn understand(options: &CreateOptions) -> Result<(Config, Cgroup), CreateError> {
    process::assert_one_thread().during("start from a process with threads")?;
    kernel::check().map_err(|error| CreateError::Environment(error.to_string()))?;
    let mut config = Config::load(&options.bundle)?;
    config.label(Modules::find());
    if gains_rights_by_entering()
        && config.namespaces.clone_flags() != 0
        && !config.namespaces.has(Kind::User)
    {
        let message = "linux.namespaces needs a user namespace where the caller has no CAP_SYS_ADMIN";
        return Err(CreateError::Config(message.to_owned()));
    }
    config.program.env.extend_from_slice(&options.env);
    console::check(config.program.terminal, options.console.as_ref()).map_err(CreateError::Config)?;
    let wanted = config.linux.cgroups_path.as_deref();
    let cgroup = match options.systemd_cgroup {
        true => Cgroup::by_manager(wanted, &options.id),
        false => Cgroup::new(wanted, &options.id),
    }
    .map_err(CreateError::Config)?;
    let is_rootless = options.rootless.unwrap_or_else(|| !namespace::is_root_of_machine());
    match options.without_cgroups || is_rootless && !cgroup.can_be_made() {
        true => Ok((config, cgroup.without_groups())),
        false => Ok((config, cgroup)),
    }
}

/// Makes the id this container's, and keeps others away from it while it is being made.
fn claim(runtime: &Runtime, options: &CreateOptions, cgroup: &Cgroup) -> Result<(Entry, Held), CreateError> {
    let entry = Entry::new(runtime.root(), &options.id);
    let made = entry
        .make_and_hold()
        .during(format!("make state directory in {}", runtime.root().display()))
        .map_err(CreateError::from)?;
    let Some(held) = made else { return Err(CreateError::Exists(options.id.clone())) };
    match entry.read() {
        Ok(earlier) => clear_abandoned(&entry, &earlier, options)?,
        // There may be a configuration, of a creation that was cut just then.
        Err(ControlError::NotFound(_)) => entry.clear().during("clear state directory")?,
        // Whatever it is, it is somebody's container.
        Err(error) => return Err(error.into()),
    }
    if let Err(error) = refuse_strangers(cgroup) {
        entry.remove().during("remove state directory")?;
        return Err(error.into());
    }
    Ok((entry, held))
}

/// A creator that was killed leaves a record without a process; its id is free again.
fn clear_abandoned(entry: &Entry, earlier: &Record, options: &CreateOptions) -> Result<(), CreateError> {
    if !earlier.is_abandoned() {
        return Err(CreateError::Exists(options.id.clone()));
    }
    log::info!("clearing what an interrupted create left id={}", options.id);
    earlier.cgroup(&options.id)?.remove()?;
    entry.clear().during("clear state directory")?;
    Ok(())
}

/// Deleting a container, or failing to create it, empties its groups; nobody else may be in them.
fn refuse_strangers(cgroup: &Cgroup) -> Result<(), SpawnError> {
    match cgroup.processes().during("read cgroup")?.is_empty() {
        true => Ok(()),
        false => Err(SpawnError::Cgroup(format!("{} already has processes", cgroup.path().display()))),
    }
}

/// Takes back everything after a failure. What cannot be taken back is logged: the failure itself is
/// what the caller must hear.
fn clear(entry: &Entry, cgroup: &Cgroup, config: &Config, record: &Record) {
    if let Err(error) = cgroup.remove() {
        log::warn!(
            "could not remove cgroup of a failed create path={} error={error}",
            cgroup.path().display()
        );
    }
    let state = record.state(Status::Stopped, 0);
    hooks::run_all(config.spec.hooks.as_ref(), Moment::Poststop, &state);
    if let Err(error) = entry.remove() {
        log::warn!("could not remove state of a failed create error={error}");
    }
}

fn build(
    entry: &Entry,
    record: &mut Record,
    config: &Config,
    cgroup: &Cgroup,
    options: &CreateOptions,
    start: Start,
) -> Result<(Channel, Child), SpawnError> {
    sysctl::check_joined(&config.linux, &config.namespaces)?;
    hand_over_streams(config, &config.program)?;
    // Before anything exists, so that an interrupted create can be cleared by whoever finds this.
    entry.write_config(&config.text).during("keep configuration")?;
    entry.write(record).during("write state")?;
    let sources = Sources::of(&config.namespaces, &config.mounts)?;
    let (channel, theirs) = Channel::pair()?;
    let decider = config.filter.as_ref().and_then(|filter| filter.decider.as_ref());
    let mut birth = Birth {
        config,
        cgroups: cgroup::View::new(cgroup, config.namespaces.has(Kind::Cgroup))?,
        state: record.state(Status::Creating, 0),
        console: options.console.as_ref().map(|console| console.connect()).transpose()?,
        introduction: decider
            .map(|decider| Introduction::prepare(decider, record.state(Status::Creating, 0)))
            .transpose()?,
        listener: match start {
            Start::ByAnybody => Some(socket::listen_at(&entry.socket()).during("listen for start")?),
            Start::ByCreator => None,
        },
        prepared: config
            .mounts
            .iter()
            .map(|mount| mount.prepare(&config.namespaces, &sources))
            .collect::<Result<_, _>>()?,
        devices: devices::make_ahead(config)?,
        mounts: config.namespaces.open(Kind::Mount)?,
        // Where the root is: the new process may not be able to walk there.
        way: match options.no_pivot {
            true => Way::Move(config.root.canonicalize().during("find root")?),
            false => Way::Pivot,
        },
        doors: Doors::default(),
        preserve_fds: options.preserve_fds,
        keep_keyring: options.keep_keyring,
        is_mapped_by_its_user: config.namespaces.is_new(Kind::User) && !nix::unistd::geteuid().is_root(),
    };
    // Before the process exists, so that it is never without its limits.
    cgroup.prepare(config.limits.as_ref())?;
    // What a service manager makes, it fills.
    let birthplace = match cgroup.is_by_manager() {
        true => None,
        false => {
            birth.doors = cgroup.doors()?;
            cgroup.birthplace()?
        }
    };
    let (child, born_inside) = spawn(&config.namespaces, birthplace, birth, &channel, theirs)?;
    cgroup.admit(child.pid(), born_inside, config.limits.as_ref()).inspect_err(|_| end(&child))?;
    set_up(entry, record, config, options, &channel, &child).map_err(|error| {
        end(&child);
        of_memory(cgroup).unwrap_or(error)
    })?;
    Ok((channel, child))
}

/// Whether it was for want of memory that the new process ended; it cannot say so itself.
fn of_memory(cgroup: &Cgroup) -> Option<SpawnError> {
    let message = "the memory limit is too low for the start: the kernel killed the new process";
    cgroup.oom_killed().unwrap_or(false).then(|| SpawnError::Cgroup(message.to_owned()))
}

/// It may have ended by itself; and nothing may be left when a creation has failed. One that is suspended ends when it is
/// resumed, for which nobody waits here.
pub(crate) fn end(child: &Child) {
    let _ = child.signal(libc::SIGKILL);
    if child.ended_within(DEATH_LIMIT).unwrap_or(false) {
        let _ = child.wait();
    }
}

/// How long a process may take to die of SIGKILL; more means that it is stuck in the kernel.
pub(crate) const DEATH_LIMIT: Duration = Duration::from_secs(10);

/// Starts the first process, in its group where it can be born there; the second answer is whether it was. Where
/// a user namespace is joined, that comes first, because the other new namespaces must belong to it.
fn spawn(
    namespaces: &Namespaces,
    birthplace: Option<OwnedFd>,
    birth: Birth<'_>,
    channel: &Channel,
    theirs: Channel,
) -> Result<(Child, bool), SpawnError> {
    let step = "start container process";
    let program = &birth.config.program;
    let flags = namespaces.clone_flags();
    let user = namespaces.open(Kind::User)?;
    let mut detour = namespaces.detour()?;
    if namespaces.begin_in_root() {
        let root = &birth.config.root;
        detour.step_into(root).during(format!("enter root {}", root.display()))?;
    }
    let Some(user) = user else {
        let live = move || birth.live(theirs);
        let born = match &birthplace {
            Some(group) => process::spawn_into(group.as_fd(), flags, live),
            None => process::spawn(flags, live).map(|child| (child, false)),
        }
        .during(step)?;
        detour.leave().and_then(|()| rank(program, born.0.pid())).inspect_err(|_| end(&born.0))?;
        return Ok(born);
    };
    let entrance = Entrance { user: Some(user), pid: namespaces.open(Kind::Pid)?, ..Entrance::default() };
    let born = entrance.spawn(flags, program, channel, theirs, birth)?;
    detour.leave().inspect_err(|_| end(&born.0))?;
    Ok(born)
}

fn set_up(
    entry: &Entry,
    record: &mut Record,
    config: &Config,
    options: &CreateOptions,
    channel: &Channel,
    child: &Child,
) -> Result<(), SpawnError> {
    let hooks = config.spec.hooks.as_ref();
    config.namespaces.map_ids(child.pid())?;
    config.net_devices.hand_over(child.pid())?;
    channel.go_as(child.pid())?;
    if hooks::are_run_by_creator(hooks) {
        channel.expect(Report::Furnished, STEP_LIMIT)?;
        // "After step 2 in the lifecycle" (runtime.md, "State"): what older hooks look for.
        hooks::run(hooks, Moment::Prestart, &record.state(Status::Created, child.pid()))?;
        hooks::run(hooks, Moment::CreateRuntime, &record.state(Status::Creating, child.pid()))?;
        channel.go()?;
    }
    channel.expect(Report::Ready, STEP_LIMIT + hooks::limit(hooks, Moment::CreateContainer))?;

    constrain(&config.program, child.pid())?;
    record.set_init(child.pid()).during("read start time")?;
    entry.write(record).during("write state")?;
    if let Some(path) = &options.pid_file {
        write_pid_file(path, child.pid())?;
    }
    Ok(())
}

/// Gives a process its place in the order in which the kernel kills for want of memory. A hidden one takes it from
/// root only.
pub(crate) fn rank(program: &Program, pid: i32) -> Result<(), SpawnError> {
    let Some(score) = program.oom_score else { return Ok(()) };
    let procfs = Procfs::open().during("open procfs")?;
    let ranked = procfs.write(format!("{pid}/oom_score_adj"), &score.to_string());
    ranked.during(format!("set oomScoreAdj {score}"))
}

/// Sets what only the creator has the rights for.
pub(crate) fn constrain(program: &Program, pid: i32) -> Result<(), SpawnError> {
    for limit in &program.limits {
        process::set_limit(pid, limit.resource, limit.soft, limit.hard)
            .during(format!("set {} to {}:{}", limit.name, limit.soft, limit.hard))?;
    }
    program.schedule.set(pid)
}

/// A bare number; readers see all of it or nothing.
pub(crate) fn write_pid_file(path: &Path, pid: i32) -> Result<(), SpawnError> {
    let step = || format!("write pid file {}", path.display());
    let (parent, name) = match (path.parent(), path.file_name().and_then(|name| name.to_str())) {
        (Some(parent), Some(name)) if parent.as_os_str().is_empty() => (Path::new("."), name),
        (Some(parent), Some(name)) => (parent, name),
        _ => return Err(std::io::Error::from(std::io::ErrorKind::InvalidInput)).during(step()),
    };
    edgelet_sys::durable::publish_volatile(parent, name, pid.to_string().as_bytes(), 0o644).during(step())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Id;

    #[test]
    fn a_process_with_threads_is_refused_before_anything_is_touched() {
        // The test harness runs this function on a second thread.
        let dir = tempfile::tempdir().expect("temporary directory");
        let runtime = Runtime::new(dir.path().join("state"));
        let options = CreateOptions::new(Id::parse("x").expect("id"), dir.path());
        let error = create(&runtime, &options).expect_err("threads");
        assert!(error.to_string().contains("threads"), "{error}");
        assert!(!runtime.root().exists());
    }
}

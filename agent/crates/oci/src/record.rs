//! What is remembered of a container: one directory below the state root, on a memory file system.
//!
//! It holds `config.json` as it was at creation; then `state.json`, written once before the first process
//! exists and once when the container is created; and `start.sock`, which is there for as long as the
//! container waits to be started. The directory itself is the lock (flock(2)) of the verbs that change a
//! container.

use crate::Id;
use crate::cgroup::Cgroup;
use crate::config::Config;
use crate::error::{ControlError, SpawnError};
use crate::runtime::{State, Status};
use crate::spec::Spec;
use edgelet_sys::{durable, process};
use edgelet_types::UnixMillis;
use nix::errno::Errno;
use nix::fcntl::{Flock, FlockArg};
use serde::{Deserialize, Serialize};
use std::collections::HashMap;
use std::fs::{self, DirBuilder, File, OpenOptions};
use std::io::{self, Write};
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::fs::{DirBuilderExt, MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant, SystemTime};

/// The content of `state.json`. Volatile: a reboot takes it with the container.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Record {
    /// Of this structure; readers refuse what they do not know.
    version: u32,
    id: String,
    bundle: PathBuf,
    cgroup: PathBuf,
    /// Whether a service manager made the groups.
    #[serde(default)]
    systemd_cgroup: bool,
    /// Whether there are none.
    #[serde(default)]
    without_cgroups: bool,
    created: UnixMillis,
    /// The configuration's, to be shown.
    oci_version: String,
    annotations: HashMap<String, String>,
    /// Absent while the container is being created.
    pub(crate) init: Option<Init>,
}

/// The first process. Both numbers together are never used again.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Init {
    pub(crate) pid: i32,
    start_time: u64,
}

impl Init {
    /// The process, if it still lives.
    pub(crate) fn open(self) -> io::Result<Option<(Init, OwnedFd)>> {
        let fd = match process::pidfd_open(self.pid) {
            Ok(fd) => fd,
            Err(error) if error.raw_os_error() == Some(libc::ESRCH) => return Ok(None),
            Err(error) => return Err(error),
        };
        // Looked at after the process was opened, so that the answer is about what was opened.
        let lives = process::start_time(self.pid)? == Some(self.start_time);
        Ok(lives.then_some((self, fd)))
    }
}

/// What is known of a container whose record nobody understands.
#[derive(Debug)]
pub(crate) struct Remains {
    pub(crate) cgroup: Cgroup,
    pub(crate) init: Option<Init>,
}

const VERSION: u32 = 1;
const FILE: &str = "state.json";
const CONFIG: &str = "config.json";
const SOCKET: &str = "start.sock";

impl Record {
    pub(crate) fn new(id: &Id, config: &Config, cgroup: &Cgroup) -> Self {
        let now = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
        Self {
            version: VERSION,
            id: id.to_string(),
            bundle: config.bundle.clone(),
            cgroup: cgroup.path().to_owned(),
            systemd_cgroup: cgroup.is_by_manager(),
            without_cgroups: !cgroup.has_groups(),
            created: UnixMillis(i64::try_from(now.as_millis()).unwrap_or(i64::MAX)),
            oci_version: config.spec.oci_version.clone(),
            annotations: config.spec.annotations.clone().unwrap_or_default(),
            init: None,
        }
    }

    /// Remembers the first process; it must not have been waited for.
    pub(crate) fn set_init(&mut self, pid: i32) -> io::Result<()> {
        let start_time = process::start_time(pid)?.ok_or(Errno::ESRCH)?;
        self.init = Some(Init { pid, start_time });
        Ok(())
    }

    /// Whether no process was ever started from it. To be asked by whoever holds the entry: anybody
    /// else may see one that is just being created.
    pub(crate) fn is_abandoned(&self) -> bool {
        self.init.is_none()
    }

    pub(crate) fn cgroup(&self, id: &Id) -> Result<Cgroup, ControlError> {
        let cgroup = Cgroup::earlier(&self.cgroup, self.systemd_cgroup, id)
            .map_err(|reason| ControlError::Record { id: id.clone(), reason })?;
        Ok(if self.without_cgroups { cgroup.without_groups() } else { cgroup })
    }

    /// The same for a verb that is nothing without them.
    pub(crate) fn existing_cgroup(&self, id: &Id) -> Result<Cgroup, ControlError> {
        match self.cgroup(id)? {
            cgroup if cgroup.has_groups() => Ok(cgroup),
            _ => Err(SpawnError::Cgroup(format!("{id} has none, as its creator wanted or may not make any"))
                .into()),
        }
    }

    /// The first process, open, if it still lives.
    pub(crate) fn open_init(&self) -> io::Result<Option<(Init, OwnedFd)>> {
        self.init.map_or(Ok(None), Init::open)
    }

    /// The state as the specification shows it, with a status that the caller knows.
    pub(crate) fn state(&self, status: Status, pid: i32) -> State {
        State {
            oci_version: self.oci_version.clone(),
            id: self.id.clone(),
            status,
            pid,
            bundle: self.bundle.clone(),
            annotations: self.annotations.clone(),
            created: self.created.to_string(),
        }
    }
}

/// The directory of one container.
#[derive(Debug, Clone)]
pub(crate) struct Entry {
    id: Id,
    dir: PathBuf,
}

/// Held while a verb changes the container.
#[derive(Debug)]
pub(crate) struct Held {
    _lock: Flock<File>,
}

impl Entry {
    pub(crate) fn new(root: &Path, id: &Id) -> Self {
        Self { id: id.clone(), dir: root.join(id.as_str()) }
    }

    /// Where a created container waits.
    pub(crate) fn socket(&self) -> PathBuf {
        self.dir.join(SOCKET)
    }

    /// Reads what is remembered. Records of other versions are refused.
    pub(crate) fn read(&self) -> Result<Record, ControlError> {
        let record: Record = serde_json::from_slice(&self.file(FILE)?).map_err(|error| self.bad(error))?;
        match record.version {
            VERSION => Ok(record),
            other => Err(self.bad(format!("version {other} is not known here"))),
        }
    }

    /// Reads the configuration of a container, checked as when it was created.
    pub(crate) fn config(&self, record: &Record) -> Result<Config, ControlError> {
        Config::parse(self.file(CONFIG)?, record.bundle.clone()).map_err(|error| self.bad(error))
    }

    /// Reads the configuration as it is, for those who need little of it.
    pub(crate) fn spec(&self) -> Result<Spec, ControlError> {
        serde_json::from_slice(&self.file(CONFIG)?).map_err(|error| self.bad(error))
    }

    /// Whatever can still be understood of a record that is none, or of the configuration: where the container's
    /// groups are, and its first process.
    pub(crate) fn remains(&self) -> Option<Remains> {
        let value = |name| serde_json::from_slice::<serde_json::Value>(&self.file(name).ok()?).ok();
        let (record, config) = (value(FILE).unwrap_or_default(), value(CONFIG));
        let cgroup = match record["cgroup"].as_str() {
            Some(path) => {
                let by_manager = record["systemdCgroup"].as_bool().unwrap_or(false);
                Cgroup::earlier(Path::new(path), by_manager, &self.id).ok()?
            }
            None => {
                let config = config.filter(|config| config["ociVersion"].is_string())?;
                let wanted = config["linux"]["cgroupsPath"].as_str().map(PathBuf::from);
                let is_scope = |path: &PathBuf| path.is_relative() && path.to_string_lossy().contains(':');
                match wanted.as_ref().is_some_and(is_scope) {
                    true => Cgroup::by_manager(wanted.as_deref(), &self.id).ok()?,
                    false => Cgroup::new(wanted.as_deref(), &self.id).ok()?,
                }
            }
        };
        let has_none = record["withoutCgroups"].as_bool().unwrap_or(false);
        let cgroup = if has_none { cgroup.without_groups() } else { cgroup };
        Some(Remains { cgroup, init: serde_json::from_value(record["init"].clone()).ok() })
    }

    fn file(&self, name: &str) -> Result<Vec<u8>, ControlError> {
        match fs::read(self.dir.join(name)) {
            Ok(text) => Ok(text),
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                Err(ControlError::NotFound(self.id.clone()))
            }
            Err(error) => Err(self.step(&format!("read {name}"), error)),
        }
    }

    /// Keeps the configuration of a container for which there is no record yet: nobody reads the one without the
    /// other.
    pub(crate) fn write_config(&self, text: &[u8]) -> io::Result<()> {
        let mut options = OpenOptions::new();
        options.write(true).create_new(true).mode(0o600).open(self.dir.join(CONFIG))?.write_all(text)
    }

    /// Writes what is to be remembered.
    pub(crate) fn write(&self, record: &Record) -> io::Result<()> {
        let text = serde_json::to_vec(record).map_err(io::Error::other)?;
        durable::publish_volatile(&self.dir, FILE, &text, 0o600)
    }

    /// What the container is doing, found by looking.
    pub(crate) fn status(&self, record: &Record) -> Result<(Status, i32), ControlError> {
        if record.init.is_none() {
            // Whoever creates it holds the lock; nobody does when that one died.
            let abandoned = self.try_hold().map_err(|error| self.step("lock", error))?.is_some();
            return Ok((if abandoned { Status::Stopped } else { Status::Creating }, 0));
        }
        let Some((init, _)) = record.open_init().map_err(|error| self.step("open init", error))? else {
            return Ok((Status::Stopped, 0));
        };
        let status = if record.cgroup(&self.id)?.is_frozen() {
            Status::Paused
        } else if self.socket().exists() {
            Status::Created
        } else {
            Status::Running
        };
        Ok((status, init.pid))
    }

    /// Makes the directory, and holds it. `None` when somebody else does, for longer than it takes to look.
    pub(crate) fn make_and_hold(&self) -> io::Result<Option<Held>> {
        let root = self.dir.parent().ok_or(Errno::EINVAL)?;
        let private = |recursive| {
            let mut builder = DirBuilder::new();
            builder.mode(0o700).recursive(recursive);
            builder
        };
        private(true).create(root)?;
        let deadline = Instant::now() + LOOK_LIMIT;
        loop {
            match private(false).create(&self.dir) {
                Err(error) if error.kind() != io::ErrorKind::AlreadyExists => return Err(error),
                _ => {}
            }
            match self.try_hold() {
                Ok(None) if Instant::now() < deadline => std::thread::sleep(HOLD_PAUSE),
                // Whoever had it has removed it just now.
                Err(error) if error.kind() == io::ErrorKind::NotFound && Instant::now() < deadline => {}
                held => return held,
            }
        }
    }

    /// Holds the directory, waiting a bounded time for whoever holds it now.
    pub(crate) fn hold(&self) -> Result<Held, ControlError> {
        self.hold_by(|| self.try_hold())
    }

    fn hold_by(&self, attempt: impl Fn() -> io::Result<Option<Held>>) -> Result<Held, ControlError> {
        let deadline = Instant::now() + HOLD_LIMIT;
        loop {
            match attempt() {
                Ok(Some(held)) => return Ok(held),
                Ok(None) if Instant::now() >= deadline => return Err(ControlError::Busy(self.id.clone())),
                // flock(2) can wait, but not for a limited time.
                Ok(None) => std::thread::sleep(HOLD_PAUSE),
                Err(error) if error.kind() == io::ErrorKind::NotFound => {
                    return Err(ControlError::NotFound(self.id.clone()));
                }
                Err(error) => return Err(self.step(&format!("lock {}", self.dir.display()), error)),
            }
        }
    }

    fn try_hold(&self) -> io::Result<Option<Held>> {
        self.lock(&self.dir, FlockArg::LockExclusiveNonblock)
    }

    fn lock(&self, path: &Path, how: FlockArg) -> io::Result<Option<Held>> {
        let file = File::open(path)?;
        let opened = file.metadata()?;
        let lock = match Flock::lock(file, how) {
            Ok(lock) => lock,
            Err((_, Errno::EWOULDBLOCK)) => return Ok(None),
            Err((_, error)) => return Err(error.into()),
        };
        // It may have been removed, and even made anew, before the lock was ours.
        let now = fs::metadata(path)?;
        let same = (now.dev(), now.ino()) == (opened.dev(), opened.ino());
        Ok(same.then_some(Held { _lock: lock }))
    }

    /// Keeps the container from being suspended while a process comes into it, waiting a bounded time for whoever
    /// does just that.
    pub(crate) fn come_in(&self) -> Result<Held, ControlError> {
        self.hold_by(|| self.lock(&self.dir.join(CONFIG), FlockArg::LockSharedNonblock))
    }

    /// Keeps processes from coming in while it is suspended; the other side of [`Self::come_in`].
    pub(crate) fn keep_out(&self) -> Result<Held, ControlError> {
        self.hold_by(|| self.lock(&self.dir.join(CONFIG), FlockArg::LockExclusiveNonblock))
    }

    /// Forgets the container. The record goes last: for as long as something is left, it is there to be deleted.
    pub(crate) fn remove(&self) -> io::Result<()> {
        let gone = |removed: io::Result<()>| match removed {
            Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
            _ => Ok(()),
        };
        for name in [CONFIG, SOCKET, FILE] {
            gone(fs::remove_file(self.dir.join(name)))?;
        }
        gone(fs::remove_dir_all(&self.dir))
    }

    /// Removes what an interrupted creation left in the directory, which stays held.
    pub(crate) fn clear(&self) -> io::Result<()> {
        fs::read_dir(&self.dir)?.try_for_each(|file| fs::remove_file(file?.path()))
    }

    fn step(&self, step: &str, source: io::Error) -> ControlError {
        ControlError::Step { step: step.to_owned(), source }
    }

    fn bad(&self, reason: impl ToString) -> ControlError {
        ControlError::Record { id: self.id.clone(), reason: reason.to_string() }
    }
}

/// Long enough for any verb that is not stuck in a hook.
const HOLD_LIMIT: Duration = Duration::from_secs(10);
const HOLD_PAUSE: Duration = Duration::from_millis(5);
/// Long enough for somebody who looks whether a creation was given up.
const LOOK_LIMIT: Duration = Duration::from_millis(50);

/// The ids below a state root, in order. A root that does not exist has none.
pub(crate) fn ids(root: &Path) -> io::Result<Vec<Id>> {
    let entries = match fs::read_dir(root) {
        Ok(entries) => entries,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
        Err(error) => return Err(error),
    };
    let mut ids = Vec::new();
    for entry in entries {
        ids.extend(entry?.file_name().to_str().and_then(|name| Id::parse(name).ok()));
    }
    ids.sort();
    Ok(ids)
}

/// Waits for the end of an open process that is not a child.
pub(crate) fn ended_within(process: &impl AsFd, limit: Duration) -> io::Result<bool> {
    process::readable_within(process.as_fd(), limit)
}

//! How a process comes into groups without anybody waiting for the whole machine.
//!
//! To move another process, or one with threads, the kernel waits until nothing on the machine is making or ending a
//! thread: some ten milliseconds, however little there is to do. A process that is born in a group of version 2, or
//! that moves its only thread by itself into one of version 1 (Linux 5.19), is there at once.

use super::trees::Version;
use super::{Cgroup, failed};
use crate::error::SpawnError;
use std::fs::{self, File, OpenOptions};
use std::io::Write;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::{Path, PathBuf};

/// The ways into the groups of version 1, open.
#[derive(Debug, Default)]
pub(crate) struct Doors(Vec<(PathBuf, File)>);

impl Doors {
    /// Brings the calling process in, which has one thread. With whose rights they were opened is what counts.
    pub(crate) fn pass(&self) -> Result<(), SpawnError> {
        for (file, open) in &self.0 {
            let mut open: &File = open;
            open.write_all(b"0").map_err(|error| failed(format!("join {}: {error}", file.display())))?;
        }
        Ok(())
    }

    pub(crate) fn descriptors(&self) -> impl Iterator<Item = BorrowedFd<'_>> {
        self.0.iter().map(|(_, open)| open.as_fd())
    }
}

impl Cgroup {
    /// The ways into the groups of version 1, which must be there.
    pub(crate) fn doors(&self) -> Result<Doors, SpawnError> {
        let version_1 = self.trees.iter().filter(|tree| tree.version() == Version::One);
        let open = |file: PathBuf| match OpenOptions::new().write(true).open(&file) {
            Ok(open) => Ok((file, open)),
            Err(error) => Err(failed(format!("open {}: {error}", file.display()))),
        };
        version_1
            .map(|tree| open(tree.directory(&self.path).join("tasks")))
            .collect::<Result<_, _>>()
            .map(Doors)
    }

    /// The group of version 2 as a directory in which a process can be born, where there is one.
    pub(crate) fn birthplace(&self) -> Result<Option<OwnedFd>, SpawnError> {
        let Some(tree) = self.trees.unified() else { return Ok(None) };
        let directory = tree.directory(&self.path);
        match File::open(&directory) {
            Ok(open) => Ok(Some(open.into())),
            Err(error) => Err(failed(format!("open {}: {error}", directory.display()))),
        }
    }

    /// Whether two more processes may be born in the group of version 2, and would run.
    pub(crate) fn takes_births(&self) -> bool {
        let Some(tree) = self.trees.unified() else { return true };
        let read =
            |directory: &Path, name: &str| fs::read_to_string(directory.join(name)).unwrap_or_default();
        // Without a limit it is no number.
        let number = |directory: &Path, name: &str| read(directory, name).trim().parse::<u64>().ok();
        let has_room = |directory: &Path| {
            let (limit, used) = (number(directory, "pids.max"), number(directory, "pids.current"));
            limit.zip(used).is_none_or(|(limit, used)| used + 2 <= limit)
        };
        let group = tree.directory(&self.path);
        let is_frozen = read(&group, "cgroup.events").lines().any(|line| line == "frozen 1");
        let below_root = |directory: &&Path| directory.join("cgroup.events").exists();
        !is_frozen && group.ancestors().take_while(below_root).all(has_room)
    }
}

//! The processes in a container's groups: finding, suspending, killing, and removing the groups after them.
//! It works on what an earlier, interrupted run left, too.

use super::{Cgroup, failed, write};
use crate::error::SpawnError;
use edgelet_sys::{process, walk};
use std::collections::BTreeSet;
use std::fs;
use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

impl Cgroup {
    /// The host process ids of everything inside, also in groups that the container made itself.
    pub(crate) fn processes(&self) -> io::Result<Vec<i32>> {
        Ok(processes(&self.directories())?.into_iter().collect())
    }

    /// Sends a signal to everything inside; the answer is how many processes got it.
    pub(crate) fn signal(&self, signal: i32) -> io::Result<usize> {
        signal_all(&self.directories(), signal)
    }

    /// Whether every process is suspended.
    pub(crate) fn is_frozen(&self) -> bool {
        let Some(freezer) = self.freezer() else { return false };
        fs::read_to_string(&freezer.file).is_ok_and(|text| text.trim() == freezer.frozen)
    }

    /// Suspends or resumes every process, and returns when all of them are.
    pub(crate) fn freeze(&self, frozen: bool) -> Result<(), SpawnError> {
        let freezer = self.freezer().ok_or_else(|| failed("this machine has no freezer"))?;
        let wrong = |error: io::Error| failed(format!("write {}: {error}", freezer.file.display()));
        if !frozen {
            return write(&freezer.file, freezer.thawed).map_err(wrong);
        }
        let deadline = Instant::now() + FREEZE_LIMIT;
        loop {
            // Version 1 may miss a process that is just being made, and has to be asked again.
            write(&freezer.file, freezer.frozen).map_err(wrong)?;
            if freezer.is_done().map_err(wrong)? {
                return Ok(());
            }
            if Instant::now() >= deadline {
                // Better all of it running than half of it.
                write(&freezer.file, freezer.thawed).map_err(wrong)?;
                return Err(failed(format!("{} does not freeze", self.path.display())));
            }
            std::thread::sleep(Duration::from_millis(1));
        }
    }

    fn freezer(&self) -> Option<Freezer> {
        if let Some(tree) = self.trees.with("freezer") {
            let file = tree.directory(&self.path).join("freezer.state");
            return Some(Freezer { file, frozen: "FROZEN", thawed: "THAWED" });
        }
        let file = self.trees.unified()?.directory(&self.path).join("cgroup.freeze");
        Some(Freezer { file, frozen: "1", thawed: "0" })
    }

    /// Kills what is left inside and removes the groups; what is not there is fine.
    pub(crate) fn remove(&self) -> Result<(), SpawnError> {
        if let Some(scope) = &self.scope {
            // It would make the groups of a scope that it believes to be there again.
            self.kill().map_err(failed)?;
            scope.stop()?;
        }
        // The usual case: everything in them has ended.
        let mut left = remove_all(self.trees.iter().map(|tree| tree.directory(&self.path)))?;
        if left.is_empty() {
            return Ok(());
        }
        let deadline = Instant::now() + REMOVE_LIMIT;
        let mut pause = FIRST_PAUSE;
        loop {
            self.kill().map_err(failed)?;
            for directory in &left {
                walk::remove_below(directory).map_err(failed)?;
            }
            left = remove_all(left.into_iter())?;
            if left.is_empty() {
                return Ok(());
            }
            if Instant::now() >= deadline {
                return Err(failed(format!("{} is still busy", self.path.display())));
            }
            // There is no event for the end of a process that is not ours in version 1.
            std::thread::sleep(pause);
            pause = (pause * 2).min(LAST_PAUSE);
        }
    }

    /// Kills everything inside. Version 2 does it in one go, also what is frozen or being made (Linux 5.14).
    fn kill(&self) -> io::Result<()> {
        let unified = self.trees.unified().map(|tree| tree.directory(&self.path).join("cgroup.kill"));
        if unified.is_some_and(|file| write(&file, "1").is_ok()) && self.trees.is_unified() {
            return Ok(());
        }
        signal_all(&self.directories(), libc::SIGKILL)?;
        // A frozen process does not die in version 1.
        if self.is_frozen() {
            let _ = self.freeze(false);
        }
        Ok(())
    }

    /// Its directories that exist, in every tree.
    fn directories(&self) -> Vec<PathBuf> {
        let all = self.trees.iter().map(|tree| tree.directory(&self.path));
        all.filter(|directory| directory.is_dir()).collect()
    }
}

/// Longer than a process can be in a call that does not let it be frozen.
const FREEZE_LIMIT: Duration = Duration::from_secs(10);
/// Longer than a killed process needs to leave, also on a slow board.
const REMOVE_LIMIT: Duration = Duration::from_secs(5);
const FIRST_PAUSE: Duration = Duration::from_micros(100);
const LAST_PAUSE: Duration = Duration::from_millis(10);

/// The file that suspends a group, and its words.
struct Freezer {
    file: PathBuf,
    frozen: &'static str,
    thawed: &'static str,
}

impl Freezer {
    /// Version 1 shows how far it is in the same file, version 2 in its events.
    fn is_done(&self) -> io::Result<bool> {
        match self.frozen {
            "FROZEN" => Ok(fs::read_to_string(&self.file)?.trim() == self.frozen),
            _ => {
                let events = fs::read_to_string(self.file.with_file_name("cgroup.events"))?;
                Ok(events.lines().any(|line| line == "frozen 1"))
            }
        }
    }
}

/// A process is opened by its id and then looked for again: whoever is still listed is the one that was
/// opened, and not a stranger to whom the id was given meanwhile.
fn signal_all(directories: &[PathBuf], signal: i32) -> io::Result<usize> {
    let open = |pid| Some((pid, process::pidfd_open(pid).ok()?));
    let opened: Vec<(i32, OwnedFd)> = processes(directories)?.into_iter().filter_map(open).collect();
    if opened.is_empty() {
        return Ok(0);
    }
    let still_inside = processes(directories)?;
    let mut signalled = 0;
    for (_, process) in opened.iter().filter(|(pid, _)| still_inside.contains(pid)) {
        match process::pidfd_signal(process.as_fd(), signal) {
            Ok(()) => signalled += 1,
            Err(error) if error.raw_os_error() == Some(libc::ESRCH) => {}
            Err(error) => return Err(error),
        }
    }
    Ok(signalled)
}

fn processes(directories: &[PathBuf]) -> io::Result<BTreeSet<i32>> {
    let mut found = BTreeSet::new();
    for directory in directories {
        collect_processes(directory, &mut found)?;
    }
    Ok(found)
}

fn collect_processes(directory: &Path, found: &mut BTreeSet<i32>) -> io::Result<()> {
    walk::each(directory, |group| {
        let lines = match walk::read_in(group, c"cgroup.procs") {
            Ok(lines) => lines,
            // Removed meanwhile, or a threaded group of version 2, whose processes are listed above it.
            Err(error)
                if matches!(error.raw_os_error(), Some(libc::ENOENT | libc::ENODEV | libc::EOPNOTSUPP)) =>
            {
                return Ok(());
            }
            Err(error) => return Err(error),
        };
        found.extend(lines.lines().filter_map(|line| line.parse::<i32>().ok()).filter(|pid| *pid > 0));
        Ok(())
    })
}

/// Removes groups that are empty; the answer is those that are not.
fn remove_all(directories: impl Iterator<Item = PathBuf>) -> Result<Vec<PathBuf>, SpawnError> {
    let mut left = Vec::new();
    for directory in directories {
        match fs::remove_dir(&directory) {
            Err(error) if matches!(error.raw_os_error(), Some(libc::EBUSY | libc::ENOTEMPTY)) => {
                left.push(directory);
            }
            Err(error) if error.kind() != io::ErrorKind::NotFound => {
                return Err(failed(format!("remove {}: {error}", directory.display())));
            }
            _ => {}
        }
    }
    Ok(left)
}

//! The container's control groups: one directory in each tree that the machine has.

pub(crate) mod devices;
mod doors;
mod limits;
mod members;
pub mod stats;
mod trees;
mod view;

pub(crate) use doors::Doors;
pub(crate) use limits::weight_of;
pub use stats::Statistics;
pub use trees::mode;
pub(crate) use view::View;

use crate::Id;
use crate::error::{ControlError, SpawnError};
use crate::spec::Resources;
use crate::systemd::Scope;
use edgelet_sys::namespace::is_root_of_machine;
use limits::{Setting, Step};
use nix::errno::Errno;
use nix::unistd::AccessFlags;
use std::fs::{self, File, OpenOptions};
use std::io::{self, Write};
use std::path::{Component, Path, PathBuf};
use trees::{Tree, Trees, Version};

/// Where the daemon wants the groups of a container of its own, whose name nobody else gives.
pub fn daemons_group(container: &str) -> PathBuf {
    Path::new("/edgelet").join(container)
}

/// Ends what runs in the groups of such a container, and removes them: where its record is gone, it may live on. Groups
/// that are not there are fine.
pub fn end_daemons_group(container: &Id) -> Result<(), ControlError> {
    let group = Cgroup::new(Some(&daemons_group(container.as_str())), container);
    let group = group.map_err(|reason| ControlError::Record { id: container.clone(), reason })?;
    Ok(group.remove()?)
}

/// A container's control groups, by their path below the root of each tree.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Cgroup {
    path: PathBuf,
    trees: Trees,
    /// Where a service manager makes the groups.
    scope: Option<Scope>,
}

impl Cgroup {
    /// Where the configuration wants it, or `/ID`, as other runtimes have it.
    pub(crate) fn new(wanted: Option<&Path>, id: &Id) -> Result<Self, String> {
        let path = match wanted.filter(|path| !path.as_os_str().is_empty()) {
            Some(path) => path.to_owned(),
            None => Path::new("/").join(id.as_str()),
        };
        let names = path.components().filter(|part| !matches!(part, Component::RootDir));
        if names.clone().count() == 0 || !names.clone().all(|part| matches!(part, Component::Normal(_))) {
            return Err(format!("linux.cgroupsPath {path:?} must name a group below the root"));
        }
        Ok(Self { path: Path::new("/").join(names.collect::<PathBuf>()), trees: find_trees()?, scope: None })
    }

    /// The same, made by the service manager: the configuration names a scope.
    pub(crate) fn by_manager(wanted: Option<&Path>, id: &Id) -> Result<Self, String> {
        let scope = Scope::parse(wanted, id)?;
        Ok(Self { path: scope.path(), trees: find_trees()?, scope: Some(scope) })
    }

    /// Groups that were made earlier.
    pub(crate) fn earlier(path: &Path, by_manager: bool, id: &Id) -> Result<Self, String> {
        let scope = || Scope::of_path(path).ok_or_else(|| format!("{} is no scope", path.display()));
        let scope = by_manager.then(scope).transpose()?;
        Ok(Self { scope, ..Self::new(Some(path), id)? })
    }

    /// None at all, for a container of somebody who may not make any.
    pub(crate) fn without_groups(self) -> Self {
        Self { trees: Trees::default(), scope: None, ..self }
    }

    /// Whether there are any.
    pub(crate) fn has_groups(&self) -> bool {
        self.trees.iter().next().is_some()
    }

    /// Whether the caller may make them in every tree; a service manager has rights of its own.
    pub(crate) fn can_be_made(&self) -> bool {
        let may_write = |directory: PathBuf| {
            let there = directory.ancestors().find(|above| above.exists());
            there.is_some_and(|there| nix::unistd::eaccess(there, AccessFlags::W_OK).is_ok())
        };
        self.scope.is_some() || self.trees.iter().all(|tree| may_write(tree.directory(&self.path)))
    }

    /// Whether a service manager makes the groups.
    pub(crate) fn is_by_manager(&self) -> bool {
        self.scope.is_some()
    }

    /// The path below the root of a tree, with a leading slash.
    pub(crate) fn path(&self) -> &Path {
        &self.path
    }

    /// Makes the groups and sets their limits, before there is a process for them. A service manager makes none
    /// without one.
    pub(crate) fn prepare(&self, limits: Option<&Resources>) -> Result<(), SpawnError> {
        match self.scope {
            Some(_) => Ok(()),
            None => self.make(limits),
        }
    }

    /// Puts the container's first process into the groups that it has no [way into](Doors) by itself.
    pub(crate) fn admit(
        &self,
        pid: i32,
        born_inside: bool,
        limits: Option<&Resources>,
    ) -> Result<(), SpawnError> {
        if let Some(scope) = &self.scope {
            scope.start(pid, limits, self.trees.is_unified())?;
            self.make(limits)?;
            return self.join(pid);
        }
        match born_inside {
            true => Ok(()),
            false => self.join_unified(pid),
        }
    }

    /// Changes limits.
    pub(crate) fn change(&self, limits: &Resources) -> Result<(), SpawnError> {
        if let Some(scope) = &self.scope {
            scope.change(limits, self.trees.is_unified())?;
        }
        self.limit(limits)
    }

    fn make(&self, limits: Option<&Resources>) -> Result<(), SpawnError> {
        for tree in self.trees.iter() {
            let directory = tree.directory(&self.path);
            match tree.version() {
                Version::One => make_version_1(tree, &directory),
                Version::Two => make_version_2(tree, &directory),
            }
            .map_err(|error| failed(format!("make {}: {error}", directory.display())))?;
        }
        limits.map_or(Ok(()), |limits| self.limit(limits))?;
        let rules = limits.and_then(|limits| limits.devices.as_deref()).unwrap_or_default();
        match self.limit_devices(rules) {
            // Where nobody asks for rules, what every container has is all that it should have.
            Err(error) if rules.is_empty() => {
                log::warn!("no rules for devices group={} error={error}", self.path.display());
                Ok(())
            }
            other => other,
        }
    }

    fn limit(&self, limits: &Resources) -> Result<(), SpawnError> {
        limits::plan(limits, self).map_err(failed)?.iter().try_for_each(|step| self.carry_out(step))
    }

    fn limit_devices(&self, rules: &[crate::spec::LinuxDeviceCgroup]) -> Result<(), SpawnError> {
        // Whoever may make no groups may make no devices, and opens those of the host as the user that it is.
        if !self.has_groups() {
            return Ok(());
        }
        let wrong = |error: io::Error| failed(format!("device rules: {error}"));
        // Version 2 has no controller for them, and every group can have a program.
        match (self.trees.with("devices"), self.trees.unified()) {
            (Some(tree), _) => {
                let directory = tree.directory(&self.path);
                let lines = devices::lines(rules).map_err(wrong)?;
                let mut runs = lines.chunk_by(|(file, _), (next, _)| file == next);
                runs.try_for_each(|run| write_lines(&directory.join(run[0].0), run)).map_err(wrong)
            }
            (None, Some(tree)) => match devices::install(&tree.directory(&self.path), rules) {
                // Who may not load programs may not make devices either, and opens those of the host as the user
                // that it is.
                Err(error) if error.kind() == io::ErrorKind::PermissionDenied && !is_root_of_machine() => {
                    log::warn!("no rules for devices group={} error={error}", self.path.display());
                    Ok(())
                }
                other => other.map_err(wrong),
            },
            (None, None) => Err(failed("device rules: this machine has no cgroup tree for them")),
        }
    }

    fn carry_out(&self, step: &Step) -> Result<(), SpawnError> {
        let told = |setting: &Setting, error: io::Error| {
            failed(format!("set {} to {}: {error}", setting.file, setting.value))
        };
        match step {
            Step::Set(setting) => self.set(setting).map_err(|error| told(setting, error)),
            Step::SetWherePresent(setting) => match self.set(setting) {
                Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
                other => other.map_err(|error| told(setting, error)),
            },
            Step::SetOneOf(first, second) => match self.set(first) {
                Err(error) if error.kind() == io::ErrorKind::NotFound => {
                    self.set(second).map_err(|error| told(second, error))
                }
                other => other.map_err(|error| told(first, error)),
            },
            Step::SetTogether(first, second) => {
                if self.set(first).and_then(|()| self.set(second)).is_ok() {
                    return Ok(());
                }
                self.set(second).map_err(|error| told(second, error))?;
                self.set(first).map_err(|error| told(first, error))
            }
        }
    }

    fn set(&self, setting: &Setting) -> io::Result<()> {
        let tree = self.trees.with(&setting.controller).ok_or(Errno::ENOENT)?;
        write(&tree.directory(&self.path).join(&setting.file), &setting.value)
    }

    /// Puts a process into the group of version 2, where there is one.
    pub(crate) fn join_unified(&self, pid: i32) -> Result<(), SpawnError> {
        self.trees.unified().map_or(Ok(()), |tree| self.join_in(tree, pid))
    }

    /// Puts a process into the groups.
    fn join(&self, pid: i32) -> Result<(), SpawnError> {
        self.trees.iter().try_for_each(|tree| self.join_in(tree, pid))
    }

    fn join_in(&self, tree: &Tree, pid: i32) -> Result<(), SpawnError> {
        let directory = tree.directory(&self.path);
        join(&directory, pid).map_err(|error| failed(format!("join {}: {error}", directory.display())))
    }

    /// The groups for a further process of a container whose first one is `init`. On version 2 the container may have
    /// moved its processes into groups of its own, and made its outer group one that takes none (cgroups(7), "no
    /// internal processes"); then it is that of `init`.
    pub(crate) fn beside(&self, init: i32) -> Self {
        let Some(tree) = self.trees.unified().filter(|_| self.trees.is_unified()) else {
            return self.clone();
        };
        let handed_down = fs::read_to_string(tree.directory(&self.path).join("cgroup.subtree_control"));
        let takes_none = handed_down.is_ok_and(|names| !names.trim().is_empty());
        match self.group_of(init).filter(|_| takes_none) {
            Some(path) => Self { path, ..self.clone() },
            None => self.clone(),
        }
    }

    /// Groups that are below the container's in every tree.
    pub(crate) fn below(&self, below: &Path) -> Result<Self, SpawnError> {
        let names = below.components().filter(|part| !matches!(part, Component::RootDir | Component::CurDir));
        if !names.clone().all(|part| matches!(part, Component::Normal(_))) {
            return Err(failed(format!("{} is not a group below the container's", below.display())));
        }
        Ok(Self { path: self.path.join(names.collect::<PathBuf>()), ..self.clone() })
    }

    /// The group of a process in the tree of version 2, if it is one of the container's.
    fn group_of(&self, init: i32) -> Option<PathBuf> {
        let text = fs::read_to_string(format!("/proc/{init}/cgroup")).ok()?;
        let group = PathBuf::from(text.lines().find_map(|line| line.strip_prefix("0::"))?);
        group.starts_with(&self.path).then_some(group)
    }

    /// Whether the kernel killed a process inside for want of memory: `oom_kill` of `memory.oom_control`
    /// (version 1, Linux 4.13) or `memory.events` (version 2).
    pub(crate) fn oom_killed(&self) -> io::Result<bool> {
        let Some(tree) = self.trees.with("memory") else { return Ok(false) };
        let file = match tree.version() {
            Version::One => "memory.oom_control",
            Version::Two => "memory.events",
        };
        let text = match fs::read_to_string(tree.directory(&self.path).join(file)) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(false),
            other => other?,
        };
        let counts = text.lines().find_map(|line| line.strip_prefix("oom_kill "));
        Ok(counts.is_some_and(|count| count.trim() != "0"))
    }
}

impl limits::Group for Cgroup {
    fn version(&self, controller: &str) -> Option<Version> {
        self.trees.with(controller).map(Tree::version)
    }

    fn read(&self, controller: &str, file: &str) -> Option<String> {
        fs::read_to_string(self.trees.with(controller)?.directory(&self.path).join(file)).ok()
    }
}

fn find_trees() -> Result<Trees, String> {
    Trees::find().map_err(|error| format!("look for cgroup trees: {error}"))
}

fn make_version_1(tree: &Tree, directory: &Path) -> io::Result<()> {
    fs::create_dir_all(directory)?;
    match tree.names().any(|name| name == "cpuset") {
        true => inherit_cpuset(&tree.mount_point, directory),
        false => Ok(()),
    }
}

/// A new group of this controller has no processors and no memory nodes, and takes no process before it
/// has some.
fn inherit_cpuset(top: &Path, directory: &Path) -> io::Result<()> {
    ["cpuset.cpus", "cpuset.mems"].into_iter().try_for_each(|file| cpuset_of(top, directory, file).map(drop))
}

/// What a group has, or has from now on.
fn cpuset_of(top: &Path, directory: &Path, file: &str) -> io::Result<String> {
    let at = directory.join(file);
    let own = fs::read_to_string(&at)?.trim().to_owned();
    match directory.parent().filter(|parent| own.is_empty() && parent.starts_with(top)) {
        Some(parent) => {
            let inherited = cpuset_of(top, parent, file)?;
            write(&at, &inherited)?;
            Ok(inherited)
        }
        None => Ok(own),
    }
}

/// What the root offers is handed down to the group, level by level.
fn make_version_2(tree: &Tree, directory: &Path) -> io::Result<()> {
    const OFFERED: &str = "cgroup.controllers";
    fs::create_dir_all(directory)?;
    let offered = fs::read_to_string(tree.mount_point.join(OFFERED))?;
    if fs::read_to_string(directory.join(OFFERED))? == offered {
        return Ok(());
    }
    let above: Vec<&Path> =
        directory.ancestors().skip(1).take_while(|path| path.starts_with(&tree.mount_point)).collect();
    for level in above.into_iter().rev() {
        let control = level.join("cgroup.subtree_control");
        let handed_down = fs::read_to_string(&control)?;
        let is_missing = |name: &&str| !handed_down.split_whitespace().any(|other| other == *name);
        for name in offered.split_whitespace().filter(is_missing) {
            // One that cannot be had, because a level above holds processes or real-time ones, is missed by a
            // limit that needs it, if there is one.
            let _ = write(&control, &format!("+{name}"));
        }
    }
    Ok(())
}

/// A process that is ending cannot be moved, and one that waits to be told to go on can.
fn join(directory: &Path, pid: i32) -> io::Result<()> {
    write(&directory.join("cgroup.procs"), &pid.to_string())
}

/// The kernel takes a value in one call, and makes no files here.
fn write(file: &Path, value: &str) -> io::Result<()> {
    write_value(&mut OpenOptions::new().write(true).open(file)?, value)
}

/// Each line is a value of its own; opening the file takes longer than writing it.
fn write_lines(file: &Path, lines: &[(&str, String)]) -> io::Result<()> {
    let mut file = OpenOptions::new().write(true).open(file)?;
    lines.iter().try_for_each(|(_, line)| write_value(&mut file, line))
}

fn write_value(file: &mut File, value: &str) -> io::Result<()> {
    match file.write(value.as_bytes())? {
        written if written == value.len() => Ok(()),
        _ => Err(io::ErrorKind::WriteZero.into()),
    }
}

fn failed(error: impl std::fmt::Display) -> SpawnError {
    SpawnError::Cgroup(error.to_string())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_path_names_a_group_below_the_root() {
        let id = Id::parse("x").expect("id");
        let path = |text: &str| Cgroup::new(Some(Path::new(text)), &id).map(|cgroup| cgroup.path).ok();
        assert_eq!(path(""), Some(PathBuf::from("/x")));
        assert_eq!(path("a/b"), Some(PathBuf::from("/a/b")));
        assert_eq!(path("/a/b/"), Some(PathBuf::from("/a/b")));
        for bad in ["/", "..", "/a/../../b"] {
            assert_eq!(path(bad), None, "{bad}");
        }
    }
}

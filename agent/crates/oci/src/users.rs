//! User namespaces: who may write which id mappings, and writing them (user_namespaces(7)).

use crate::error::{During, InitFailure, SpawnError};
use crate::holder::Holder;
use caps::{CapSet, Capability};
use edgelet_sys::namespace::Kind;
use edgelet_sys::procfs::Procfs;
use nix::unistd::{getegid, geteuid};
use oci_spec::runtime::LinuxIdMapping;
use std::io;
use std::os::fd::OwnedFd;
use std::process::Command;

/// Mappings as the kernel reads them, a line for each range: an id inside, the one outside, how many.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Maps {
    pub(crate) uids: String,
    pub(crate) gids: String,
}

impl Maps {
    pub(crate) fn new(uids: &[LinuxIdMapping], gids: &[LinuxIdMapping]) -> Self {
        let line =
            |map: &LinuxIdMapping| format!("{} {} {}\n", map.container_id(), map.host_id(), map.size());
        let lines = |maps: &[LinuxIdMapping]| maps.iter().map(line).collect();
        Self { uids: lines(uids), gids: lines(gids) }
    }

    /// Whether there is nothing in them.
    pub(crate) fn is_empty(&self) -> bool {
        self.uids.is_empty() && self.gids.is_empty()
    }

    /// The user outside who is this one inside.
    pub(crate) fn uid_outside(&self, inside: u32) -> Option<u32> {
        outside(&self.uids, inside)
    }

    /// The group outside that is this one inside.
    pub(crate) fn gid_outside(&self, inside: u32) -> Option<u32> {
        outside(&self.gids, inside)
    }

    /// Gives them to a process that is alone in a new user namespace.
    pub(crate) fn give(&self, pid: i32) -> Result<(), SpawnError> {
        let may = |capability| caps::has_cap(None, CapSet::Effective, capability).unwrap_or(false);
        let may_map_others = may(Capability::CAP_SETUID) && may(Capability::CAP_SETGID);
        let procfs = Procfs::open().during("open procfs")?;
        let write = |file: &str, text: &str| {
            procfs.write(format!("{pid}/{file}"), text).during(format!("write {file}"))
        };
        match self.way(may_map_others, geteuid().as_raw(), getegid().as_raw()) {
            Way::Directly => {}
            // Whoever could leave a group of the caller's might be kept out by just that group.
            Way::WithoutGroups => write("setgroups", "deny")?,
            Way::ByPrograms => {
                by_program("newuidmap", pid, &self.uids)?;
                return by_program("newgidmap", pid, &self.gids);
            }
        }
        write("uid_map", &self.uids)?;
        write("gid_map", &self.gids)
    }

    /// A user namespace that has them, with nobody in it.
    pub(crate) fn namespace(&self) -> Result<OwnedFd, SpawnError> {
        let step = "make a user namespace";
        let holder = Holder::start(&[Kind::User]).during(step)?;
        self.give(holder.pid())?;
        holder.open(Kind::User).during(step)
    }

    /// Ids from 0 on that are those from `first` on outside.
    pub(crate) fn range(first: u32, count: u32) -> Self {
        let map = format!("0 {first} {count}\n");
        Self { uids: map.clone(), gids: map }
    }

    fn way(&self, may_map_others: bool, uid: u32, gid: u32) -> Way {
        if may_map_others {
            Way::Directly
        } else if maps_only(&self.uids, uid) && maps_only(&self.gids, gid) {
            Way::WithoutGroups
        } else {
            Way::ByPrograms
        }
    }
}

/// A user namespace with nobody in it, whose ids from 0 on are `count` of the caller's from `first` on. The caller has
/// one thread.
pub fn user_namespace(first: u32, count: u32) -> io::Result<OwnedFd> {
    Maps::range(first, count).namespace().map_err(|error| io::Error::other(InitFailure::from(&error).message))
}

/// How mappings come into force.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Way {
    /// The caller may map what it likes.
    Directly,
    /// Everybody may map the own ids, in a namespace whose processes keep their groups.
    WithoutGroups,
    /// What else the caller may map is in `/etc/subuid` and `/etc/subgid`, and for programs with rights to judge.
    ByPrograms,
}

fn outside(map: &str, inside: u32) -> Option<u32> {
    map.lines().find_map(|line| {
        let mut numbers = line.split_whitespace().map(str::parse::<u32>);
        let (first, outside, count) = (numbers.next()?.ok()?, numbers.next()?.ok()?, numbers.next()?.ok()?);
        let offset = inside.checked_sub(first).filter(|offset| *offset < count)?;
        outside.checked_add(offset)
    })
}

fn maps_only(map: &str, id: u32) -> bool {
    let words: Vec<&str> = map.split_whitespace().collect();
    matches!(words.as_slice(), [_, outside, "1"] if outside.parse() == Ok(id))
}

/// newuidmap(1) and newgidmap(1) take the numbers as they are in the file.
fn by_program(name: &str, pid: i32, map: &str) -> Result<(), SpawnError> {
    let step = || format!("have {name} map {}", map.trim_end().replace('\n', ", "));
    let mut command = Command::new(name);
    command.arg(pid.to_string()).args(map.split_whitespace());
    let output = match command.output() {
        Err(error) if error.kind() == io::ErrorKind::NotFound => {
            let why =
                format!("there is no {name} here, and only its user's own ids can be mapped without it");
            return Err(io::Error::new(error.kind(), why)).during(step());
        }
        other => other.during(step())?,
    };
    match output.status.success() {
        true => Ok(()),
        false => {
            Err(io::Error::other(String::from_utf8_lossy(&output.stderr).trim().to_owned())).during(step())
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_id_inside_is_one_outside_or_none() {
        let map = "0 1000 1\n1 100000 10\n";
        for (inside, want) in [(0, Some(1000)), (1, Some(100_000)), (10, Some(100_009)), (11, None)] {
            assert_eq!(outside(map, inside), want, "{inside}");
        }
        assert_eq!(outside("0 4294967295 2\n", 1), None);
    }

    #[test]
    fn only_what_is_not_the_callers_own_takes_rights_or_a_program() {
        let way = |uids: &str, gids: &str, may| {
            Maps { uids: uids.to_owned(), gids: gids.to_owned() }.way(may, 1000, 100)
        };
        assert_eq!(way("0 1000 1\n", "0 100 1\n", false), Way::WithoutGroups);
        assert_eq!(way("7 1000 1\n", "0 100 1\n", false), Way::WithoutGroups);
        assert_eq!(way("0 1000 1\n", "0 100 1\n", true), Way::Directly);
        for (uids, gids) in [
            ("0 1000 2\n", "0 100 1\n"),
            ("0 1001 1\n", "0 100 1\n"),
            ("0 1000 1\n", "0 1000 1\n"),
            ("0 1000 1\n1 100000 65535\n", "0 100 1\n1 100000 65535\n"),
        ] {
            assert_eq!(way(uids, gids, false), Way::ByPrograms, "{uids}{gids}");
        }
    }
}

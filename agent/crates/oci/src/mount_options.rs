//! The option words of mounts (OCI runtime-spec 1.3, config.md, "Linux mount options").

use crate::error::CreateError;
use edgelet_sys::mount::{self, Attributes, Propagation};

/// Option words, sorted by what they mean.
#[derive(Debug, Default, PartialEq)]
pub(crate) struct Words {
    /// A bind mount, and whether it takes what is mounted below.
    pub(crate) bind: Option<bool>,
    pub(crate) remount: bool,
    /// Begin with a copy of what is covered.
    pub(crate) copy_up: bool,
    /// Of the mount.
    pub(crate) attributes: Attributes,
    /// Of the mount and everything below.
    pub(crate) recursive: Attributes,
    /// Owners of files are mapped, and whether also in what is mounted below.
    pub(crate) id_map: Option<bool>,
    /// To be set in order, for the mount or for everything below.
    pub(crate) propagation: Vec<(Propagation, bool)>,
    /// For the file system.
    pub(crate) parameters: Vec<String>,
}

impl Words {
    /// Later words win over earlier ones. The error is a word that is not supported.
    pub(crate) fn parse<'a>(options: impl Iterator<Item = &'a String>) -> Result<Self, String> {
        let mut words = Self::default();
        for word in options {
            match word.as_str() {
                // The kernel logs little about mounts; how much is nobody's business here.
                "defaults" | "" | "silent" | "loud" => {}
                // What they switch, file systems that have it do by themselves.
                "iversion" | "noiversion" => {}
                "bind" => words.bind = Some(false),
                "rbind" => words.bind = Some(true),
                "remount" => words.remount = true,
                "tmpcopyup" => words.copy_up = true,
                "idmap" => words.id_map = Some(false),
                "ridmap" => words.id_map = Some(true),
                text if text.starts_with("idmap=") || text.starts_with("ridmap=") => return Err(word.clone()),
                text => {
                    if let Some((change, recursive)) = attribute(text) {
                        let target = if recursive { &mut words.recursive } else { &mut words.attributes };
                        target.set = (target.set & !change.clear) | change.set;
                        target.clear = (target.clear & !change.set) | change.clear;
                    } else if let Some(propagation) = propagation(text) {
                        words.propagation.push(propagation);
                    } else {
                        words.parameters.push(word.clone());
                    }
                }
            }
        }
        Ok(words)
    }
}

/// The attribute words, each of which has a recursive form with `r` in front (OCI runtime-spec 1.1,
/// config.md, "Linux mount options").
fn attribute(word: &str) -> Option<(Attributes, bool)> {
    if let Some(change) = simple_attribute(word) {
        return Some((change, false));
    }
    word.strip_prefix('r').and_then(simple_attribute).map(|change| (change, true))
}

/// Every option word that is known here, or to every file system; others go to the file system.
pub(crate) const OPTIONS: &[&str] = &[
    "async",
    "atime",
    "bind",
    "defaults",
    "dev",
    "diratime",
    "dirsync",
    "exec",
    "idmap",
    "iversion",
    "lazytime",
    "loud",
    "mand",
    "noatime",
    "nodev",
    "nodiratime",
    "noexec",
    "noiversion",
    "nolazytime",
    "nomand",
    "norelatime",
    "nostrictatime",
    "nosuid",
    "nosymfollow",
    "private",
    "ratime",
    "rbind",
    "rdev",
    "rdiratime",
    "relatime",
    "remount",
    "rexec",
    "ridmap",
    "rnoatime",
    "rnodev",
    "rnodiratime",
    "rnoexec",
    "rnorelatime",
    "rnostrictatime",
    "rnosuid",
    "rnosymfollow",
    "ro",
    "rprivate",
    "rrelatime",
    "rro",
    "rrw",
    "rshared",
    "rslave",
    "rstrictatime",
    "rsuid",
    "rsymfollow",
    "runbindable",
    "rw",
    "shared",
    "silent",
    "slave",
    "strictatime",
    "suid",
    "symfollow",
    "sync",
    "tmpcopyup",
    "unbindable",
];

fn simple_attribute(word: &str) -> Option<Attributes> {
    use mount::*;
    let set = Attributes::setting;
    let clear = |clear| Attributes { set: 0, clear };
    let access_time = |mode| Attributes { set: mode, clear: ACCESS_TIME & !mode };
    Some(match word {
        "ro" => set(READ_ONLY),
        "rw" => clear(READ_ONLY),
        "nosuid" => set(NO_SUID),
        "suid" => clear(NO_SUID),
        "nodev" => set(NO_DEV),
        "dev" => clear(NO_DEV),
        "noexec" => set(NO_EXEC),
        "exec" => clear(NO_EXEC),
        "nodiratime" => set(NO_DIR_ACCESS_TIME),
        "diratime" => clear(NO_DIR_ACCESS_TIME),
        "nosymfollow" => set(NO_SYMLINK_FOLLOW),
        "symfollow" => clear(NO_SYMLINK_FOLLOW),
        "noatime" => access_time(NO_ACCESS_TIME),
        "strictatime" => access_time(STRICT_ACCESS_TIME),
        // Relative is the zero of the field, and what every "not that" means.
        "relatime" | "atime" | "norelatime" | "nostrictatime" => access_time(0),
        _ => return None,
    })
}

fn propagation(word: &str) -> Option<(Propagation, bool)> {
    let simple = |word: &str| {
        Some(match word {
            "shared" => Propagation::Shared,
            "slave" => Propagation::Slave,
            "private" => Propagation::Private,
            "unbindable" => Propagation::Unbindable,
            _ => return None,
        })
    };
    simple(word).map(|kind| (kind, false)).or_else(|| Some((simple(word.strip_prefix('r')?)?, true)))
}

/// What `linux.rootfsPropagation` says.
pub(crate) fn root_propagation(word: &str) -> Result<(Propagation, bool), CreateError> {
    propagation(word)
        .ok_or_else(|| CreateError::Config(format!("linux.rootfsPropagation: no such mode {word:?}")))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn words(text: &str) -> Result<Words, String> {
        let words: Vec<String> = text.split(',').map(str::to_owned).collect();
        Words::parse(words.iter())
    }

    #[test]
    fn later_words_win() {
        let attributes = words("ro,nosuid,rw,suid,nodev").map(|words| words.attributes);
        assert_eq!(
            attributes,
            Ok(Attributes { set: mount::NO_DEV, clear: mount::READ_ONLY | mount::NO_SUID })
        );
        let times = words("noatime,strictatime").map(|words| words.attributes.set);
        assert_eq!(times, Ok(mount::STRICT_ACCESS_TIME));
    }

    #[test]
    fn a_leading_r_means_everything_below_except_where_it_is_part_of_the_word() {
        let words = words("rbind,rro,relatime,rw,rprivate,rnosuid").expect("known words");
        assert_eq!(words.bind, Some(true));
        assert_eq!(words.recursive, Attributes::setting(mount::READ_ONLY | mount::NO_SUID));
        assert_eq!(words.attributes.set, 0);
        assert_eq!(words.propagation, vec![(Propagation::Private, true)]);
        assert!(words.parameters.is_empty());
    }

    #[test]
    fn unknown_words_go_to_the_file_system_and_unsupported_ones_are_named() {
        assert_eq!(words("mode=755,size=64k,noswap").map(|words| words.parameters.len()), Ok(3));
        assert_eq!(words("bind,idmap=uids=0-1-1"), Err("idmap=uids=0-1-1".to_owned()));
        assert_eq!(words("bind,ridmap").map(|words| words.id_map), Ok(Some(true)));
        assert_eq!(words("mode=1,tmpcopyup").map(|words| words.copy_up), Ok(true));
    }
}

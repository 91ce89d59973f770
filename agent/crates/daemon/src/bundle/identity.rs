//! Who a program runs as: the `user` and `group` of a workload or image, looked up in the image's own
//! `/etc/passwd` and `/etc/group` (OCI image-spec 1.1, config.md, "User").

/// Numbers for the kernel, and the home directory for the environment.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Identity {
    /// User id.
    pub uid: u32,
    /// Primary group id.
    pub gid: u32,
    /// Further groups that list the user.
    pub groups: Vec<u32>,
    /// Home directory; `/` when the image does not say.
    pub home: String,
}

/// Why a user or group cannot be resolved.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum IdentityError {
    /// A name that the image's files do not have.
    #[error("{kind} {name:?} is not in the image's {file}")]
    Unknown {
        /// `user` or `group`.
        kind: &'static str,
        /// What was asked for.
        name: String,
        /// Where it was looked for.
        file: &'static str,
    },
    /// Digits that are no id. They are never taken for a name (CVE-2024-40635).
    #[error("{kind} id {text:?} is out of range: at most 4294967294")]
    OutOfRange {
        /// `user` or `group`.
        kind: &'static str,
        /// What was asked for.
        text: String,
    },
    /// Nothing before or after the colon.
    #[error("user {0:?}: want user, uid, user:group, or uid:gid")]
    Malformed(String),
}

/// Resolves `user` (`name`, `uid`, `name:group`, …) and `group`, which may replace its second half.
///
/// `passwd` and `group_file` are the contents of the image's files, empty when there are none.
pub fn resolve(
    user: Option<&str>,
    group: Option<&str>,
    passwd: &str,
    group_file: &str,
) -> Result<Identity, IdentityError> {
    let text = user.unwrap_or("0");
    let (user, own_group) = match text.split_once(':') {
        Some((user, group)) if !user.is_empty() && !group.is_empty() => (user, Some(group)),
        None if !text.is_empty() => (text, None),
        _ => return Err(IdentityError::Malformed(text.to_owned())),
    };
    let wanted_group = group.or(own_group);
    let account = find_account(user, passwd)?;
    let gid = match wanted_group {
        Some(group) => find_group(group, group_file)?,
        None => account.gid,
    };
    // Groups that list the user count only when none was named: who names one wants that one.
    let groups = match (&account.name, wanted_group) {
        (Some(name), None) => groups_of(name, group_file).filter(|id| *id != gid).collect(),
        _ => Vec::new(),
    };
    Ok(Identity { uid: account.uid, gid, groups, home: account.home })
}

struct Account {
    name: Option<String>,
    uid: u32,
    gid: u32,
    home: String,
}

fn find_account(user: &str, passwd: &str) -> Result<Account, IdentityError> {
    let wanted_uid = number("user", user)?;
    let entries = passwd.lines().filter_map(|line| {
        let mut fields = line.split(':');
        let (name, _, uid, gid, _, home) =
            (fields.next()?, fields.next()?, fields.next()?, fields.next()?, fields.next()?, fields.next()?);
        Some((name, id(uid)?, id(gid)?, home))
    });
    for (name, uid, gid, home) in entries {
        let found = match wanted_uid {
            Some(wanted) => uid == wanted,
            None => name == user,
        };
        if found {
            let home = if home.starts_with('/') { home } else { "/" };
            return Ok(Account { name: Some(name.to_owned()), uid, gid, home: home.to_owned() });
        }
    }
    match wanted_uid {
        // A number needs no entry; without one the group is root's, as every engine has it.
        Some(uid) => Ok(Account { name: None, uid, gid: 0, home: "/".to_owned() }),
        None => Err(IdentityError::Unknown { kind: "user", name: user.to_owned(), file: "/etc/passwd" }),
    }
}

fn find_group(group: &str, group_file: &str) -> Result<u32, IdentityError> {
    if let Some(gid) = number("group", group)? {
        return Ok(gid);
    }
    group_entries(group_file)
        .find_map(|(name, gid, _)| (name == group).then_some(gid))
        .ok_or_else(|| IdentityError::Unknown { kind: "group", name: group.to_owned(), file: "/etc/group" })
}

fn groups_of<'a>(user: &'a str, group_file: &'a str) -> impl Iterator<Item = u32> + 'a {
    group_entries(group_file)
        .filter_map(move |(_, gid, members)| members.split(',').any(|member| member == user).then_some(gid))
}

fn group_entries(text: &str) -> impl Iterator<Item = (&str, u32, &str)> {
    text.lines().filter_map(|line| {
        let mut fields = line.split(':');
        let (name, _, gid, members) = (fields.next()?, fields.next()?, fields.next()?, fields.next()?);
        Some((name, id(gid)?, members))
    })
}

/// An id in an image's file. An entry with -1, which means "leave as it is" to the kernel, is none.
fn id(text: &str) -> Option<u32> {
    text.parse().ok().filter(|id| *id != u32::MAX)
}

/// A text of digits (with a sign or not) is a number or an error, never a name. The largest value is
/// -1 to the kernel, which means "leave as it is".
fn number(kind: &'static str, text: &str) -> Result<Option<u32>, IdentityError> {
    let digits = text.strip_prefix(['-', '+']).unwrap_or(text);
    if digits.is_empty() || !digits.bytes().all(|byte| byte.is_ascii_digit()) {
        return Ok(None);
    }
    match text.parse::<u32>() {
        Ok(id) if id != u32::MAX && !text.starts_with('+') => Ok(Some(id)),
        _ => Err(IdentityError::OutOfRange { kind, text: text.chars().take(40).collect() }),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const PASSWD: &str = "root:x:0:0:root:/root:/bin/sh\nweb:x:33:34::/srv:/bin/false\nbroken:x:nan:0::/:\n";
    const GROUP: &str = "root:x:0:\nweb:x:34:\nlog:x:50:web,root\nvideo:x:44:web\n";

    fn ids(user: Option<&str>, group: Option<&str>) -> Result<(u32, u32, Vec<u32>), IdentityError> {
        resolve(user, group, PASSWD, GROUP).map(|id| (id.uid, id.gid, id.groups))
    }

    #[test]
    fn names_and_numbers_resolve_as_in_every_engine() {
        assert_eq!(ids(None, None), Ok((0, 0, vec![50])));
        assert_eq!(ids(Some("web"), None), Ok((33, 34, vec![50, 44])));
        assert_eq!(ids(Some("33"), None), Ok((33, 34, vec![50, 44])));
        assert_eq!(ids(Some("web:log"), None), Ok((33, 50, vec![])));
        assert_eq!(ids(Some("web"), Some("video")), Ok((33, 44, vec![])));
        assert_eq!(ids(Some("1234"), None), Ok((1234, 0, vec![])));
        assert_eq!(ids(Some("1234:5678"), None), Ok((1234, 5678, vec![])));
    }

    #[test]
    fn what_cannot_be_resolved_is_refused() {
        for bad in ["nobody", "broken", "web:nobody", ":", "web:", ":web", ""] {
            assert!(ids(Some(bad), None).is_err(), "{bad}");
        }
    }

    #[test]
    fn an_image_cannot_give_a_name_the_id_that_keeps_root() {
        let all = "app:x:4294967295:0::/:\nweb:x:1:4294967295::/:\n";
        for name in ["app", "web"] {
            assert!(
                matches!(resolve(Some(name), None, all, ""), Err(IdentityError::Unknown { .. })),
                "{name}"
            );
        }
        let groups = "all:x:4294967295:ok\n";
        let ok = "ok:x:1:1::/:\n";
        assert!(resolve(Some("ok:all"), None, ok, groups).is_err());
        assert_eq!(resolve(Some("ok"), None, ok, groups).map(|id| id.groups), Ok(vec![]));
    }

    #[test]
    fn no_string_of_digits_becomes_root_or_a_name() {
        let huge = "9".repeat(25);
        for bad in ["4294967295", "4294967296", "-1", "+0", huge.as_str()] {
            let entry = format!("{bad}:x:0:0::/:\n");
            let result = resolve(Some(bad), None, &entry, "");
            assert!(matches!(result, Err(IdentityError::OutOfRange { .. })), "{bad}: {result:?}");
        }
        assert_eq!(ids(Some("00033"), None).map(|(uid, ..)| uid), Ok(33));
    }
}

//! The program of a container or of an exec, from `process` (OCI runtime-spec 1.3, config.md, "Process").

use crate::identity::{CapabilitySets, Identity};
use crate::labels::Labels;
use crate::schedule::Schedule;
use crate::spec::{ConsoleSize, Process};
use edgelet_sys::console::Size;
use oci_spec::runtime::PosixRlimitType;
use std::path::PathBuf;

/// What is executed, as whom, and within which limits. Every value has been checked.
#[derive(Debug, Clone, Default)]
pub(crate) struct Program {
    /// The first is what is looked up. None at all where there is no program.
    pub(crate) args: Vec<String>,
    /// `NAME=value`, as given.
    pub(crate) env: Vec<String>,
    /// Absolute, inside.
    pub(crate) cwd: PathBuf,
    pub(crate) identity: Identity,
    pub(crate) umask: u32,
    pub(crate) limits: Vec<Limit>,
    pub(crate) no_new_privileges: bool,
    pub(crate) terminal: bool,
    /// Of the terminal at the beginning.
    pub(crate) size: Option<Size>,
    /// How gladly the kernel kills it; untouched when absent.
    pub(crate) oom_score: Option<i32>,
    pub(crate) schedule: Schedule,
    pub(crate) labels: Labels,
}

/// A resource limit.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Limit {
    /// Its name in the configuration, for messages.
    pub(crate) name: String,
    /// Its number in the kernel.
    pub(crate) resource: u32,
    /// In force.
    pub(crate) soft: u64,
    /// The most that the program may raise it to.
    pub(crate) hard: u64,
}

impl Program {
    /// None: a container can be created without one, and not be started.
    pub(crate) fn absent() -> Self {
        Self { cwd: "/".into(), umask: DEFAULT_UMASK, ..Self::default() }
    }

    /// Checks a process; the answer to a bad one is what is wrong with it.
    pub(crate) fn parse(process: &Process) -> Result<Self, String> {
        let args = process.args.clone().unwrap_or_default();
        let env = process.env.clone().unwrap_or_default();
        if args.first().is_none_or(String::is_empty) {
            return Err("process.args must not be empty".to_owned());
        }
        if args.iter().chain(&env).any(|text| text.contains('\0')) {
            return Err("process.args and process.env must not contain NUL".to_owned());
        }
        let cwd = process.cwd.clone();
        if !cwd.is_absolute() {
            return Err(format!("process.cwd {cwd:?} must be absolute"));
        }
        let user = &process.user;
        Ok(Self {
            args,
            env,
            cwd,
            identity: Identity {
                uid: id("uid", user.uid())?,
                gid: id("gid", user.gid())?,
                groups: user
                    .additional_gids()
                    .iter()
                    .flatten()
                    .map(|gid| id("additionalGids", *gid))
                    .collect::<Result<_, _>>()?,
                capabilities: CapabilitySets::parse(process.capabilities.as_ref()),
            },
            umask: match user.umask().unwrap_or(DEFAULT_UMASK) {
                umask @ 0..=0o777 => umask,
                other => return Err(format!("process.user.umask {other:#o} is not a umask")),
            },
            limits: limits(process)?,
            no_new_privileges: process.no_new_privileges.unwrap_or(false),
            terminal: process.terminal.unwrap_or(false),
            size: process.console_size.map(size).transpose()?,
            oom_score: match process.oom_score_adj {
                Some(score) if !(-1000..=1000).contains(&score) => {
                    return Err(format!("process.oomScoreAdj {score} is not between -1000 and 1000"));
                }
                other => other,
            },
            schedule: Schedule::parse(process)?,
            labels: Labels::parse(process)?,
        })
    }
}

const DEFAULT_UMASK: u32 = 0o022;

/// The largest number means "leave as it is" to setresuid(2), which would keep root.
fn id(field: &str, number: u32) -> Result<u32, String> {
    match number {
        u32::MAX => Err(format!("process.user.{field} {number} is not an id")),
        _ => Ok(number),
    }
}

fn size(size: ConsoleSize) -> Result<Size, String> {
    let side =
        |value: u64| u16::try_from(value).map_err(|_| format!("process.consoleSize {value} is too large"));
    Ok(Size { height: side(size.height())?, width: side(size.width())? })
}

fn limits(process: &Process) -> Result<Vec<Limit>, String> {
    let mut limits: Vec<Limit> = Vec::new();
    for wanted in process.rlimits.iter().flatten() {
        let name = wanted.typ().to_string();
        let limit =
            Limit { resource: resource(wanted.typ()), soft: wanted.soft(), hard: wanted.hard(), name };
        if limits.iter().any(|earlier| earlier.resource == limit.resource) {
            return Err(format!("process.rlimits: {} twice", limit.name));
        }
        if limit.soft > limit.hard {
            return Err(format!(
                "process.rlimits: {}: soft {} above hard {}",
                limit.name, limit.soft, limit.hard
            ));
        }
        limits.push(limit);
    }
    Ok(limits)
}

// The C libraries disagree whether these small numbers are signed.
#[allow(clippy::unnecessary_cast)]
fn resource(name: PosixRlimitType) -> u32 {
    let number = match name {
        PosixRlimitType::RlimitCpu => libc::RLIMIT_CPU,
        PosixRlimitType::RlimitFsize => libc::RLIMIT_FSIZE,
        PosixRlimitType::RlimitData => libc::RLIMIT_DATA,
        PosixRlimitType::RlimitStack => libc::RLIMIT_STACK,
        PosixRlimitType::RlimitCore => libc::RLIMIT_CORE,
        PosixRlimitType::RlimitRss => libc::RLIMIT_RSS,
        PosixRlimitType::RlimitNproc => libc::RLIMIT_NPROC,
        PosixRlimitType::RlimitNofile => libc::RLIMIT_NOFILE,
        PosixRlimitType::RlimitMemlock => libc::RLIMIT_MEMLOCK,
        PosixRlimitType::RlimitAs => libc::RLIMIT_AS,
        PosixRlimitType::RlimitLocks => libc::RLIMIT_LOCKS,
        PosixRlimitType::RlimitSigpending => libc::RLIMIT_SIGPENDING,
        PosixRlimitType::RlimitMsgqueue => libc::RLIMIT_MSGQUEUE,
        PosixRlimitType::RlimitNice => libc::RLIMIT_NICE,
        PosixRlimitType::RlimitRtprio => libc::RLIMIT_RTPRIO,
        PosixRlimitType::RlimitRttime => libc::RLIMIT_RTTIME,
    };
    number as u32
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::{Value, json};

    fn parse(change: impl FnOnce(&mut Value)) -> Result<Program, String> {
        let mut json = json!({"cwd": "/", "args": ["sh"], "user": {"uid": 0, "gid": 0}});
        change(&mut json);
        let process: Process = serde_json::from_value(json).map_err(|error| error.to_string())?;
        Program::parse(&process)
    }

    #[test]
    fn an_id_that_means_unchanged_is_refused() {
        assert!(parse(|json| json["user"]["uid"] = u32::MAX.into()).is_err());
        assert!(parse(|json| json["user"]["gid"] = u32::MAX.into()).is_err());
        assert!(parse(|json| json["user"]["additionalGids"] = json!([1, u32::MAX])).is_err());
        assert!(parse(|json| json["user"]["uid"] = (u32::MAX - 1).into()).is_ok());
        assert!(parse(|json| json["user"]["uid"] = json!(1_u64 << 32)).is_err());
    }

    #[test]
    fn limits_are_unique_known_and_in_order() {
        let limit = |kind: &str, soft: u64, hard: u64| json!({"type": kind, "soft": soft, "hard": hard});
        let cases = [
            (json!([limit("RLIMIT_NOFILE", 1, 2)]), true),
            (json!([limit("RLIMIT_NOFILE", 3, 2)]), false),
            (json!([limit("RLIMIT_NOFILE", 1, 2), limit("RLIMIT_NOFILE", 1, 2)]), false),
            (json!([limit("RLIMIT_MAGIC", 1, 2)]), false),
        ];
        for (limits, good) in cases {
            assert_eq!(parse(|json| json["rlimits"] = limits.clone()).is_ok(), good, "{limits}");
        }
    }
}

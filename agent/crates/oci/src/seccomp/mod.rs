//! System call filters: an OCI profile compiled to a classic BPF program (OCI runtime-spec 1.3,
//! config-linux.md, "Seccomp"; seccomp(2)).
//!
//! The compiler is pure: profile in, instructions out. What the specification leaves open is decided
//! like this:
//! - Of several rules for one call the first that matches wins.
//! - Names that this architecture does not have are left out; the specification wants no error.
//! - Conditions on the same argument of a rule are alternatives, those on different ones must all hold;
//!   engines rely on it.
//! - A call that is newer than every call in a profile which refuses by default gets `ENOSYS`, so that
//!   programs fall back to an older call. The author of the profile cannot have meant it.
//! - Calls in a convention (architecture) that the profile does not list end the process; x32 ones get
//!   `ENOSYS`, as from a kernel without x32.

mod assemble;
mod default;
mod introduction;
mod numbers;

pub use default::default_profile;
pub(crate) use introduction::Introduction;

use crate::error::CreateError;
use assemble::{Action, Condition, Convention, Rule};
use edgelet_sys::seccomp::{self, Instruction};
use numbers::Numbers;
use oci_spec::runtime::{
    Arch, LinuxSeccomp, LinuxSeccompAction, LinuxSeccompArg, LinuxSeccompFilterFlag, LinuxSyscall,
};
use std::collections::{BTreeMap, BTreeSet};
use std::io;
use std::os::fd::BorrowedFd;
use std::path::PathBuf;

/// A profile, ready to be installed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Filter {
    pub(crate) program: Vec<Instruction>,
    flags: u32,
    /// Who decides about calls that the profile leaves to somebody else.
    pub(crate) decider: Option<Decider>,
}

/// Where the descriptor for such decisions goes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Decider {
    /// A stream socket.
    pub(crate) path: PathBuf,
    /// Passed on as it is.
    pub(crate) metadata: Option<String>,
}

impl Filter {
    /// Compiles a profile for the architecture that this program was built for.
    pub(crate) fn compile(profile: &LinuxSeccomp) -> Result<Self, CreateError> {
        let default = action(profile.default_action(), profile.default_errno_ret())?;
        let listed = profile.architectures().as_deref().unwrap_or_default();
        let mut conventions = Vec::new();
        for convention in numbers::CONVENTIONS {
            // The native one always counts (libseccomp starts from it as well).
            if convention.native || listed.iter().any(|arch| matches(*arch, convention.audit)) {
                conventions.push(Convention {
                    audit: convention.audit,
                    has_x32: convention.has_x32,
                    rules: rules(profile, convention)?,
                });
            }
        }
        let program = assemble::assemble(&conventions, default);
        if program.len() > LENGTH_LIMIT {
            return Err(invalid(format!(
                "compiles to {} instructions, {LENGTH_LIMIT} are possible",
                program.len()
            )));
        }
        let decider = decider(profile)?;
        let flags = profile.flags().iter().flatten().fold(0, |all, flag| all | self::flag(*flag));
        // The kernel takes this one only where there is somebody who decides; where not, nothing waits for it.
        let of_deciders = self::flag(LinuxSeccompFilterFlag::SeccompFilterFlagWaitKillableRecv);
        let flags = if decider.is_some() { flags } else { flags & !of_deciders };
        Ok(Self { program, flags, decider })
    }

    /// Puts the filter on the calling process for good. Where somebody else decides about calls, `give` gets the
    /// descriptor for it; see [`seccomp::install_notifying`].
    pub(crate) fn install(&self, give: impl FnOnce(BorrowedFd<'_>) -> io::Result<()>) -> io::Result<()> {
        match self.decider {
            Some(_) => seccomp::install_notifying(&self.program, self.flags, give),
            None => seccomp::install(&self.program, self.flags),
        }
    }
}

/// `BPF_MAXINSNS`.
const LENGTH_LIMIT: usize = 4096;

/// A listener is only of use to calls that are left to it, and they wait for ever without one.
fn decider(profile: &LinuxSeccomp) -> Result<Option<Decider>, CreateError> {
    let rules = profile.syscalls().iter().flatten().map(LinuxSyscall::action);
    if !rules.chain([profile.default_action()]).any(|action| action == LinuxSeccompAction::ScmpActNotify) {
        return Ok(None);
    }
    match profile.listener_path().clone().filter(|path| !path.as_os_str().is_empty()) {
        Some(path) => Ok(Some(Decider { path, metadata: profile.listener_metadata().clone() })),
        None => Err(invalid("SCMP_ACT_NOTIFY needs listenerPath".to_owned())),
    }
}

fn rules(profile: &LinuxSeccomp, convention: &Numbers) -> Result<BTreeMap<u32, Vec<Rule>>, CreateError> {
    let mut rules: BTreeMap<u32, Vec<Rule>> = BTreeMap::new();
    for syscall in profile.syscalls().iter().flatten() {
        let action = action(syscall.action(), syscall.errno_ret())?;
        let alternatives = alternatives(syscall)?;
        for number in syscall.names().iter().filter_map(|name| convention.of(name)) {
            let rules = rules.entry(number).or_default();
            rules.extend(
                alternatives.iter().map(|conditions| Rule { conditions: conditions.clone(), action }),
            );
        }
    }
    Ok(rules)
}

/// The sets of conditions of a rule, each of which is enough.
fn alternatives(syscall: &LinuxSyscall) -> Result<Vec<Vec<Condition>>, CreateError> {
    let args = syscall.args().as_deref().unwrap_or_default();
    let conditions = args.iter().map(condition).collect::<Result<Vec<_>, _>>()?;
    let distinct: BTreeSet<_> = conditions.iter().map(|condition| condition.argument).collect();
    Ok(match distinct.len() == conditions.len() {
        true => vec![conditions],
        false => conditions.into_iter().map(|condition| vec![condition]).collect(),
    })
}

fn condition(arg: &LinuxSeccompArg) -> Result<Condition, CreateError> {
    match u8::try_from(arg.index()) {
        Ok(argument) if argument < 6 => Ok(Condition {
            argument,
            operator: arg.op(),
            value: arg.value(),
            second: arg.value_two().unwrap_or(0),
        }),
        _ => Err(invalid(format!("a system call has no argument {}", arg.index()))),
    }
}

fn action(action: LinuxSeccompAction, value: Option<u32>) -> Result<Action, CreateError> {
    use LinuxSeccompAction::*;
    if value.is_some() && !matches!(action, ScmpActErrno | ScmpActTrace) {
        return Err(invalid(format!("errnoRet means nothing with {action}")));
    }
    let data = match value.unwrap_or(libc::EPERM.unsigned_abs()) {
        value @ 0..=0xffff => value,
        other => return Err(invalid(format!("errnoRet {other} is too large"))),
    };
    Ok(Action(match action {
        ScmpActKill | ScmpActKillThread => 0,
        ScmpActKillProcess => 0x8000_0000,
        ScmpActTrap => 0x0003_0000,
        ScmpActErrno => 0x0005_0000 | data,
        ScmpActTrace => 0x7ff0_0000 | data,
        ScmpActLog => 0x7ffc_0000,
        ScmpActAllow => 0x7fff_0000,
        ScmpActNotify => 0x7fc0_0000,
    }))
}

fn flag(flag: LinuxSeccompFilterFlag) -> u32 {
    match flag {
        LinuxSeccompFilterFlag::SeccompFilterFlagLog => seccomp::LOG,
        LinuxSeccompFilterFlag::SeccompFilterFlagTsync => seccomp::SYNC_THREADS,
        LinuxSeccompFilterFlag::SeccompFilterFlagSpecAllow => seccomp::ALLOW_SPECULATION,
        LinuxSeccompFilterFlag::SeccompFilterFlagWaitKillableRecv => seccomp::WAIT_KILLABLE,
    }
}

/// The discriminants of this enum are the kernel's `AUDIT_ARCH_*` numbers.
fn matches(arch: Arch, audit: u32) -> bool {
    arch as u32 == audit
}

fn invalid(reason: String) -> CreateError {
    CreateError::Config(format!("linux.seccomp: {reason}"))
}

#[cfg(test)]
mod tests;

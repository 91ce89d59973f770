//! Why something failed, in a form that code can act on and people can read.

use serde::{Deserialize, Serialize};
use std::fmt;
use std::io;

/// Who must act before a failed thing can succeed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Remedy {
    /// Nobody: the same request may succeed later, and we try again with back-off.
    RetryLater,
    /// Whoever sent the request: it must be changed (another image, a corrected manifest).
    NeedsInput,
    /// A person with access to the device or its surroundings: disk full, credentials, permissions.
    NeedsPerson,
    /// The authors of edgelet.
    Bug,
}

impl Remedy {
    /// A sentence end for people: who must act.
    pub fn advice(self) -> &'static str {
        match self {
            Remedy::RetryLater => "will be retried; nothing to do unless it lasts",
            Remedy::NeedsInput => "the request must be changed",
            Remedy::NeedsPerson => "somebody must look at the device or the registry",
            Remedy::Bug => "this is a defect of edgelet; please report it",
        }
    }
}

macro_rules! reasons {
    ($($(#[$doc:meta])* $name:ident = $code:literal, $remedy:ident;)*) => {
        /// A stable reason code. Retrying code matches on this, never on text.
        #[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
        #[non_exhaustive]
        pub enum Reason {
            $($(#[$doc])* #[serde(rename = $code)] $name,)*
        }

        impl Reason {
            /// Every reason, for documentation and tests.
            pub const ALL: &'static [Reason] = &[$(Reason::$name,)*];

            /// The code as it is stored, logged and sent.
            pub fn code(self) -> &'static str {
                match self { $(Reason::$name => $code,)* }
            }

            /// Who must act.
            pub fn remedy(self) -> Remedy {
                match self { $(Reason::$name => Remedy::$remedy,)* }
            }
        }
    };
}

reasons! {
    /// The request itself is wrong.
    InvalidInput = "INVALID_INPUT", NeedsInput;
    /// The request asks for something that this version does not do.
    NotSupported = "NOT_SUPPORTED", NeedsInput;
    /// What was named does not exist.
    NotFound = "NOT_FOUND", NeedsInput;
    /// What was asked conflicts with what is, such as removing an image in use.
    Conflict = "CONFLICT", NeedsInput;
    /// The caller may not do this.
    Forbidden = "FORBIDDEN", NeedsPerson;
    /// The registry has no such image, tag or digest.
    ImageNotFound = "IMAGE_NOT_FOUND", NeedsInput;
    /// The image has no variant for this device.
    ImagePlatform = "IMAGE_PLATFORM", NeedsInput;
    /// The image breaks the format or one of our limits.
    ImageInvalid = "IMAGE_INVALID", NeedsInput;
    /// The bytes are not the promised ones; damaged on the way or at the source.
    DigestMismatch = "DIGEST_MISMATCH", RetryLater;
    /// The registry could not be reached or broke off.
    RegistryUnreachable = "REGISTRY_UNREACHABLE", RetryLater;
    /// The registry refuses our credentials, or wants some.
    RegistryDenied = "REGISTRY_DENIED", NeedsPerson;
    /// The registry's certificate is not trusted.
    RegistryUntrusted = "REGISTRY_UNTRUSTED", NeedsPerson;
    /// The registry answered with something that the protocol does not have.
    RegistryProtocol = "REGISTRY_PROTOCOL", RetryLater;
    /// A file system has no room, above its reserve where it has one; or another limit of the kernel is used up
    /// that it reports in the same words, such as that of namespaces.
    NoSpace = "NO_SPACE", NeedsPerson;
    /// The data file system failed.
    Storage = "STORAGE", NeedsPerson;
    /// The container could not be created.
    CreateFailed = "CREATE_FAILED", RetryLater;
    /// The container was created but its program could not be started.
    StartFailed = "START_FAILED", RetryLater;
    /// The program ended although it should run.
    ContainerExited = "CONTAINER_EXITED", RetryLater;
    /// The process that held the container died without a word.
    SupervisorLost = "SUPERVISOR_LOST", RetryLater;
    /// The workload failed so often that it is reported as stuck; attempts go on slowly.
    StuckInRestart = "STUCK_IN_RESTART", NeedsInput;
    /// The daemon is stopping.
    ShuttingDown = "SHUTTING_DOWN", RetryLater;
    /// The work was cancelled by a newer request.
    Cancelled = "CANCELLED", RetryLater;
    /// It took longer than its limit.
    TimedOut = "TIMED_OUT", RetryLater;
    /// An invariant of ours is broken.
    Internal = "INTERNAL", Bug;
}

impl Reason {
    /// What an error of the kernel about files means: a full file system is for a person to mend, whichever step
    /// met it; anything else is `otherwise`.
    pub fn of_storage(error: &io::Error, otherwise: Reason) -> Reason {
        match error.kind() {
            io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded => Reason::NoSpace,
            _ => otherwise,
        }
    }
}

/// A failure that crosses a port: its reason and the chain of what was being done.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, thiserror::Error)]
#[error("{message}")]
pub struct Fault {
    /// What code acts on.
    pub reason: Reason,
    /// What people read: lower case, no full stop, outermost action first.
    pub message: String,
}

impl Fault {
    /// A fault from its parts.
    pub fn new(reason: Reason, message: impl fmt::Display) -> Self {
        Self { reason, message: message.to_string() }
    }

    /// Makes a fault of an error and all its sources: `a: b: c`.
    pub fn chain(reason: Reason, error: &dyn std::error::Error) -> Self {
        let mut message = error.to_string();
        let mut source = error.source();
        while let Some(inner) = source {
            message.push_str(": ");
            message.push_str(&inner.to_string());
            source = inner.source();
        }
        Self { reason, message }
    }

    /// Puts what was being done in front.
    pub fn context(mut self, doing: impl fmt::Display) -> Self {
        self.message = format!("{doing}: {}", self.message);
        self
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn codes_are_unique_and_survive_storage() {
        let mut seen = std::collections::BTreeSet::new();
        for reason in Reason::ALL {
            assert!(seen.insert(reason.code()), "{} twice", reason.code());
            let stored = serde_json::to_string(reason).expect("serialise");
            assert_eq!(stored, format!("\"{}\"", reason.code()));
            assert_eq!(serde_json::from_str::<Reason>(&stored).ok(), Some(*reason));
        }
    }

    #[test]
    fn a_chain_reads_from_the_outside_in() {
        #[derive(Debug, thiserror::Error)]
        #[error("open blob")]
        struct Outer(#[source] std::io::Error);
        let fault = Fault::chain(Reason::Storage, &Outer(std::io::Error::other("disk on fire")));
        assert_eq!(fault.context("pull x").to_string(), "pull x: open blob: disk on fire");
    }
}

//! Identifiers with one checked constructor each.

use serde::{Deserialize, Serialize};
use std::fmt;

/// Why a text is not an identifier.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{what} {text:?}: {rule}")]
pub struct IdError {
    what: &'static str,
    text: String,
    rule: &'static str,
}

macro_rules! text_id {
    ($(#[$doc:meta])* $name:ident, $what:literal, $rule:literal, $check:expr) => {
        $(#[$doc])*
        #[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
        #[serde(try_from = "String", into = "String")]
        pub struct $name(String);

        impl $name {
            /// Checks `text` and takes it as it is; nothing is folded or trimmed.
            pub fn parse(text: &str) -> Result<Self, IdError> {
                let check: fn(&str) -> bool = $check;
                if check(text) {
                    Ok(Self(text.to_owned()))
                } else {
                    Err(IdError { what: $what, text: text.chars().take(80).collect(), rule: $rule })
                }
            }

            /// The identifier as text.
            pub fn as_str(&self) -> &str {
                &self.0
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(&self.0)
            }
        }

        impl TryFrom<String> for $name {
            type Error = IdError;
            fn try_from(text: String) -> Result<Self, IdError> {
                Self::parse(&text)
            }
        }

        impl From<$name> for String {
            fn from(id: $name) -> String {
                id.0
            }
        }
    };
}

text_id!(
    /// The identity of a workload for its whole life: a lower-case UUID, given by the Controller or
    /// made when a local manifest is first applied. It survives updates, restarts and reboots.
    WorkloadId,
    "workload id",
    "must be a UUID in lower case (8-4-4-4-12 hex digits)",
    is_uuid
);

text_id!(
    /// The identity of one run of a workload: 32 lower-case hex digits, new at every start.
    /// It names the runtime's state, the cgroup and the log stream of that run.
    ContainerId,
    "container id",
    "must be 32 lower-case hex digits",
    |text| text.len() == 32 && text.bytes().all(is_lower_hex)
);

text_id!(
    /// A workload, application or file name: a DNS-1123 label of at most 63 characters.
    Name,
    "name",
    "must be a DNS-1123 label: at most 63 of a-z, 0-9 and '-', beginning and ending with a letter or digit",
    is_dns_label
);

impl ContainerId {
    /// Makes an identifier from random bytes; the caller owns the source of randomness.
    pub fn from_random(bytes: [u8; 16]) -> Self {
        Self(hex(&bytes))
    }
}

impl WorkloadId {
    /// Makes a version 4 UUID (RFC 9562 5.4) from random bytes.
    pub fn from_random(mut bytes: [u8; 16]) -> Self {
        bytes[6] = (bytes[6] & 0x0f) | 0x40;
        bytes[8] = (bytes[8] & 0x3f) | 0x80;
        let digits = hex(&bytes);
        Self(format!(
            "{}-{}-{}-{}-{}",
            &digits[..8],
            &digits[8..12],
            &digits[12..16],
            &digits[16..20],
            &digits[20..]
        ))
    }
}

/// Lower-case hex digits of `bytes`.
pub fn hex(bytes: &[u8]) -> String {
    use fmt::Write;
    bytes.iter().fold(String::with_capacity(bytes.len() * 2), |mut out, byte| {
        // Writing to a String cannot fail.
        let _ = write!(out, "{byte:02x}");
        out
    })
}

fn is_lower_hex(byte: u8) -> bool {
    matches!(byte, b'0'..=b'9' | b'a'..=b'f')
}

fn is_uuid(text: &str) -> bool {
    text.len() == 36
        && text.bytes().enumerate().all(|(at, byte)| match at {
            8 | 13 | 18 | 23 => byte == b'-',
            _ => is_lower_hex(byte),
        })
}

fn is_dns_label(text: &str) -> bool {
    let edge = |byte: Option<u8>| matches!(byte, Some(b'a'..=b'z' | b'0'..=b'9'));
    text.len() <= 63
        && edge(text.bytes().next())
        && edge(text.bytes().last())
        && text.bytes().all(|byte| matches!(byte, b'a'..=b'z' | b'0'..=b'9' | b'-'))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_dns_labels() {
        for good in ["a", "web-1", "0a", &"a".repeat(63)] {
            assert!(Name::parse(good).is_ok(), "{good}");
        }
        for bad in ["", "-a", "a-", "A", "a.b", "a_b", "ä", &"a".repeat(64)] {
            assert!(Name::parse(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn random_ids_pass_their_own_check() {
        for byte in [0, 0x7f, 0xff] {
            let workload = WorkloadId::from_random([byte; 16]);
            assert_eq!(WorkloadId::parse(workload.as_str()), Ok(workload));
            let container = ContainerId::from_random([byte; 16]);
            assert_eq!(ContainerId::parse(container.as_str()), Ok(container));
        }
    }

    #[test]
    fn a_bad_id_in_stored_data_is_refused_when_read() {
        let read: Result<ContainerId, _> = serde_json::from_str("\"../../etc\"");
        assert!(read.is_err());
    }
}

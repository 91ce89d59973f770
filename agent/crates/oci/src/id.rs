//! The name of a container, as callers of the command line choose it.

use std::fmt;

/// A container id: 1 to 255 of letters, digits, `_`, `+`, `-` and `.`, and neither `.` nor `..`.
///
/// It is wider than [`edgelet_types::ContainerId`] because other engines choose their own ids. It is
/// the name of a directory, so the check is also what keeps an id inside the state root.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Id(String);

/// Why a text is not a container id.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("container id {text:?}: must be 1 to 255 of letters, digits, '_', '+', '-' and '.'")]
pub struct IdError {
    text: String,
}

impl Id {
    /// Checks `text` and takes it as it is.
    pub fn parse(text: &str) -> Result<Self, IdError> {
        let allowed = |byte: u8| byte.is_ascii_alphanumeric() || b"_+-.".contains(&byte);
        let good =
            (1..=255).contains(&text.len()) && text.bytes().all(allowed) && text != "." && text != "..";
        match good {
            true => Ok(Self(text.to_owned())),
            false => Err(IdError { text: text.chars().take(80).collect() }),
        }
    }

    /// The id as text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl From<&edgelet_types::ContainerId> for Id {
    fn from(id: &edgelet_types::ContainerId) -> Self {
        // 32 hex digits satisfy the wider rule.
        Self(id.as_str().to_owned())
    }
}

impl fmt::Display for Id {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_id_cannot_leave_the_state_root() {
        for good in ["a", "web-1", "A_b+c.d", "..a", &"x".repeat(255)] {
            assert!(Id::parse(good).is_ok(), "{good}");
        }
        for bad in ["", ".", "..", "a/b", "/a", "a b", "ä", "a\n", &"x".repeat(256)] {
            assert!(Id::parse(bad).is_err(), "{bad}");
        }
    }
}

//! Image references: what people type, normalised to what a registry is asked for.
//!
//! Grammar: OCI distribution-spec 1.1 ("Pulling manifests"), with the shorthand that every engine
//! accepts: `busybox` is `docker.io/library/busybox:latest`.

use crate::digest::{Digest, DigestError};
use serde::{Deserialize, Serialize};
use std::fmt;

/// A complete reference: registry, repository, and a tag, a digest, or both.
///
/// With both, the digest decides and the tag is kept for display only.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct ImageRef {
    registry: String,
    repository: String,
    tag: Option<String>,
    digest: Option<Digest>,
}

/// Why a text is not an image reference.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum ReferenceError {
    /// Nothing was given.
    #[error("image reference is empty")]
    Empty,
    /// The whole reference is longer than any registry accepts.
    #[error("image reference is longer than {} characters", ImageRef::MAX_LENGTH)]
    TooLong,
    /// The host part has a character that no host name or port has.
    #[error("image reference {0:?}: bad registry host")]
    Registry(String),
    /// A path component is not `[a-z0-9]+` joined by `.`, `_`, `__` or dashes.
    #[error("image reference {0:?}: repository must be lower-case letters, digits and single separators")]
    Repository(String),
    /// The tag is not `[A-Za-z0-9_][A-Za-z0-9._-]{0,127}`.
    #[error("image reference {0:?}: bad tag")]
    Tag(String),
    /// The part after `@`.
    #[error("image reference: {0}")]
    Digest(#[from] DigestError),
}

impl ImageRef {
    /// The longest text that is parsed, shorthand or complete.
    pub const MAX_LENGTH: usize = 512;

    /// Parses and normalises a reference.
    pub fn parse(text: &str) -> Result<Self, ReferenceError> {
        if text.is_empty() {
            return Err(ReferenceError::Empty);
        }
        if text.len() > Self::MAX_LENGTH {
            return Err(ReferenceError::TooLong);
        }
        let (rest, digest) = match text.split_once('@') {
            Some((rest, digest)) => (rest, Some(Digest::parse(digest)?)),
            None => (text, None),
        };
        let (name, tag) = split_tag(rest);
        if let Some(tag) = tag
            && !is_tag(tag)
        {
            return Err(ReferenceError::Tag(text.to_owned()));
        }
        let (registry, repository) = split_registry(name);
        if !is_host(registry) {
            return Err(ReferenceError::Registry(text.to_owned()));
        }
        if repository.is_empty() || !repository.split('/').all(is_component) {
            return Err(ReferenceError::Repository(text.to_owned()));
        }
        let repository = match registry == DEFAULT_REGISTRY && !repository.contains('/') {
            true => format!("library/{repository}"),
            false => repository.to_owned(),
        };
        let tag = match (tag, &digest) {
            (None, None) => Some("latest".to_owned()),
            (tag, _) => tag.map(str::to_owned),
        };
        let reference = Self { registry: registry.to_owned(), repository, tag, digest };
        // What is stored is the complete form, and it must be readable again.
        match reference.to_string().len() > Self::MAX_LENGTH {
            true => Err(ReferenceError::TooLong),
            false => Ok(reference),
        }
    }

    /// The registry's host and, where given, port.
    pub fn registry(&self) -> &str {
        &self.registry
    }

    /// The repository below the registry, such as `library/busybox`.
    pub fn repository(&self) -> &str {
        &self.repository
    }

    /// The tag; `latest` when neither tag nor digest was given.
    pub fn tag(&self) -> Option<&str> {
        self.tag.as_deref()
    }

    /// The digest that pins the reference.
    pub fn digest(&self) -> Option<&Digest> {
        self.digest.as_ref()
    }

    /// What stands after `/manifests/` in a request: the digest where there is one, else the tag.
    pub fn selector(&self) -> String {
        match (&self.digest, &self.tag) {
            (Some(digest), _) => digest.to_string(),
            (None, Some(tag)) => tag.clone(),
            (None, None) => "latest".to_owned(),
        }
    }

    /// `registry/repository` without tag and digest.
    pub fn name(&self) -> String {
        format!("{}/{}", self.registry, self.repository)
    }

    /// The shortest text that parses to the same reference, for tables.
    pub fn familiar(&self) -> String {
        let full = self.to_string();
        let short = full.strip_prefix("docker.io/").unwrap_or(&full);
        let shorter = short.strip_prefix("library/").unwrap_or(short);
        // Without what stands before it, `a.b/c` would name a host, and `library/a/b` must keep its first word.
        let is_same = |text: &&str| Self::parse(text).as_ref() == Ok(self);
        [shorter, short].into_iter().find(is_same).unwrap_or(&full).to_owned()
    }
}

impl fmt::Display for ImageRef {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.registry, self.repository)?;
        if let Some(tag) = &self.tag {
            write!(f, ":{tag}")?;
        }
        if let Some(digest) = &self.digest {
            write!(f, "@{digest}")?;
        }
        Ok(())
    }
}

impl TryFrom<String> for ImageRef {
    type Error = ReferenceError;
    fn try_from(text: String) -> Result<Self, ReferenceError> {
        Self::parse(&text)
    }
}

impl From<ImageRef> for String {
    fn from(reference: ImageRef) -> String {
        reference.to_string()
    }
}

const DEFAULT_REGISTRY: &str = "docker.io";

/// A colon after the last slash starts a tag; before it, a port.
fn split_tag(text: &str) -> (&str, Option<&str>) {
    match text.rsplit_once(':') {
        Some((name, tag)) if !tag.contains('/') => (name, Some(tag)),
        _ => (text, None),
    }
}

/// The first component is a host when it looks like one: it has a dot or a port, or is `localhost`.
fn split_registry(name: &str) -> (&str, &str) {
    match name.split_once('/') {
        Some(("index.docker.io", rest)) => (DEFAULT_REGISTRY, rest),
        Some((host, rest)) if host.contains(['.', ':']) || host == "localhost" => (host, rest),
        _ => (DEFAULT_REGISTRY, name),
    }
}

fn is_host(text: &str) -> bool {
    let (host, port) = match text.strip_prefix('[').and_then(|rest| rest.split_once(']')) {
        Some((v6, port)) => {
            if v6.parse::<std::net::Ipv6Addr>().is_err() {
                return false;
            }
            ("v6", port.strip_prefix(':').or(port.is_empty().then_some("443")))
        }
        None => match text.split_once(':') {
            Some((host, port)) => (host, Some(port)),
            None => (text, Some("443")),
        },
    };
    let label = |part: &str| {
        !part.is_empty()
            && part.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'-')
            && !part.starts_with('-')
            && !part.ends_with('-')
    };
    host.split('.').all(label) && port.is_some_and(|port| port.parse::<u16>().is_ok())
}

fn is_component(part: &str) -> bool {
    let alphanumeric = |b: u8| b.is_ascii_lowercase() || b.is_ascii_digit();
    let bytes = part.as_bytes();
    if !bytes.first().is_some_and(|b| alphanumeric(*b)) || !bytes.last().is_some_and(|b| alphanumeric(*b)) {
        return false;
    }
    // Separators between runs: one `.`, one or two `_`, or any number of `-`.
    bytes
        .split(|b| alphanumeric(*b))
        .filter(|run| !run.is_empty())
        .all(|run| matches!(run, b"." | b"_" | b"__") || run.iter().all(|b| *b == b'-'))
}

fn is_tag(tag: &str) -> bool {
    tag.len() <= 128
        && tag.bytes().all(|b| b.is_ascii_alphanumeric() || b"._-".contains(&b))
        && tag.bytes().next().is_some_and(|b| b.is_ascii_alphanumeric() || b == b'_')
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn shorthand_is_completed() {
        let cases = [
            ("busybox", "docker.io/library/busybox:latest"),
            ("user/app", "docker.io/user/app:latest"),
            ("index.docker.io/user/app:1", "docker.io/user/app:1"),
            ("localhost/app", "localhost/app:latest"),
            ("localhost:5000/a/b_c:v1.2", "localhost:5000/a/b_c:v1.2"),
            ("ghcr.io/org/app", "ghcr.io/org/app:latest"),
            ("[::1]:5000/app:x", "[::1]:5000/app:x"),
        ];
        for (text, want) in cases {
            assert_eq!(ImageRef::parse(text).map(|r| r.to_string()), Ok(want.to_owned()), "{text}");
        }
    }

    #[test]
    fn a_digest_decides_and_no_tag_is_invented_beside_it() {
        let digest = Digest::of(b"x");
        let pinned = ImageRef::parse(&format!("busybox@{digest}")).expect("pinned");
        assert_eq!((pinned.tag(), pinned.selector()), (None, digest.to_string()));
        let both = ImageRef::parse(&format!("busybox:1@{digest}")).expect("both");
        assert_eq!((both.tag(), both.selector()), (Some("1"), digest.to_string()));
    }

    #[test]
    fn the_familiar_form_parses_back() {
        let cases = [
            "busybox",
            "user/app:2",
            "ghcr.io/org/app:1",
            // Shortened by a word more, these are other images.
            "docker.io/library/user/app:2",
            "docker.io/a.b/c:1",
            "docker.io/localhost/c:1",
            "docker.io/library/localhost/c:1",
        ];
        for text in cases {
            let full = ImageRef::parse(text).expect(text);
            assert_eq!(ImageRef::parse(&full.familiar()), Ok(full));
        }
    }

    #[test]
    fn bad_references_are_refused() {
        for bad in [
            "",
            "UPPER",
            "a//b",
            "/a",
            "a/",
            "a:",
            "a:-x",
            "a@sha256:00",
            "a..b",
            "a___b",
            "-a",
            "a-",
            "host.x:99999/a",
            "ho st.x/a",
            "../etc/passwd",
            "localhost:/a",
            "[::zz]:1/a",
            "a?b=c",
            "a#b",
        ] {
            assert!(ImageRef::parse(bad).is_err(), "{bad}");
        }
        assert_eq!(ImageRef::parse(&"a".repeat(513)), Err(ReferenceError::TooLong));
    }

    #[test]
    fn a_shorthand_that_grows_too_long_is_refused_like_its_complete_form() {
        let added = "docker.io/library/:latest".len();
        let longest = ImageRef::parse(&"a".repeat(ImageRef::MAX_LENGTH - added)).expect("fits when complete");
        assert_eq!(ImageRef::parse(&longest.to_string()), Ok(longest));
        let longer = "a".repeat(ImageRef::MAX_LENGTH - added + 1);
        assert_eq!(ImageRef::parse(&longer), Err(ReferenceError::TooLong));
    }
}

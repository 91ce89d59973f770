//! Content digests (OCI image-spec 1.1, descriptor.md, "Digests") and the streaming check of one.

use crate::id::hex;
use serde::{Deserialize, Serialize};
use sha2::digest::common::hazmat::SerializableState;
use sha2::{Digest as _, Sha256};
use std::fmt;

/// A SHA-256 content digest, written `sha256:` and 64 lower-case hex digits.
///
/// SHA-512, which the specification makes optional, is refused by name.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Digest([u8; 32]);

/// Why a text is not a digest that we accept.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum DigestError {
    /// The part before `:` names another algorithm.
    #[error("digest {0:?}: only sha256 is supported")]
    Algorithm(String),
    /// Not `algorithm:hex`, or not 64 lower-case hex digits.
    #[error("digest {0:?}: want sha256: and 64 lower-case hex digits")]
    Malformed(String),
}

impl Digest {
    /// Parses `sha256:<64 lower-case hex digits>`.
    pub fn parse(text: &str) -> Result<Self, DigestError> {
        let shown = || text.chars().take(80).collect::<String>();
        let (algorithm, digits) = text.split_once(':').ok_or_else(|| DigestError::Malformed(shown()))?;
        if algorithm != "sha256" {
            return Err(DigestError::Algorithm(shown()));
        }
        Self::from_hex(digits).ok_or_else(|| DigestError::Malformed(shown()))
    }

    /// The digest of `bytes`.
    pub fn of(bytes: &[u8]) -> Self {
        Self(Sha256::digest(bytes).into())
    }

    /// Reads the 64 hex digits alone, as they stand in file names.
    pub fn from_hex(digits: &str) -> Option<Self> {
        let digits = digits.as_bytes();
        if digits.len() != 64 {
            return None;
        }
        let mut bytes = [0; 32];
        for (byte, pair) in bytes.iter_mut().zip(digits.chunks_exact(2)) {
            *byte = nibble(pair[0])? << 4 | nibble(pair[1])?;
        }
        Some(Self(bytes))
    }

    /// The 64 hex digits without the algorithm, safe as a file name.
    pub fn to_hex(&self) -> String {
        hex(&self.0)
    }

    /// The first 12 hex digits, for people.
    pub fn short(&self) -> String {
        hex(&self.0[..6])
    }

    /// The raw 32 bytes.
    pub fn as_bytes(&self) -> &[u8; 32] {
        &self.0
    }
}

impl fmt::Display for Digest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "sha256:{}", self.to_hex())
    }
}

impl fmt::Debug for Digest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl TryFrom<String> for Digest {
    type Error = DigestError;
    fn try_from(text: String) -> Result<Self, DigestError> {
        Self::parse(&text)
    }
}

impl From<Digest> for String {
    fn from(digest: Digest) -> String {
        digest.to_string()
    }
}

/// Hashes bytes as they pass and says at the end whether they were the promised ones.
#[derive(Clone)]
pub struct Verifier {
    hasher: Sha256,
    bytes: u64,
}

impl Verifier {
    /// Starts with no bytes seen.
    pub fn new() -> Self {
        Self { hasher: Sha256::new(), bytes: 0 }
    }

    /// Takes the next bytes of the stream.
    pub fn update(&mut self, bytes: &[u8]) {
        self.hasher.update(bytes);
        self.bytes += bytes.len() as u64;
    }

    /// How many bytes have passed.
    pub fn bytes(&self) -> u64 {
        self.bytes
    }

    /// The digest of all bytes that passed.
    pub fn finish(self) -> Digest {
        Digest(self.hasher.finalize().into())
    }

    /// All that it knows, to be gone on with in another process of the same version.
    pub fn state(&self) -> Vec<u8> {
        [&self.bytes.to_le_bytes()[..], self.hasher.serialize().as_slice()].concat()
    }

    /// Goes on from [`Self::state`]; `None` when that is none.
    pub fn from_state(state: &[u8]) -> Option<Self> {
        let (bytes, hasher) = state.split_first_chunk::<8>()?;
        let hasher = Sha256::deserialize(hasher.try_into().ok()?).ok()?;
        Some(Self { hasher, bytes: u64::from_le_bytes(*bytes) })
    }
}

impl Default for Verifier {
    fn default() -> Self {
        Self::new()
    }
}

fn nibble(digit: u8) -> Option<u8> {
    match digit {
        b'0'..=b'9' => Some(digit - b'0'),
        b'a'..=b'f' => Some(digit - b'a' + 10),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const EMPTY: &str = "sha256:e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855";

    #[test]
    fn the_digest_of_nothing_is_the_known_one() {
        assert_eq!(Digest::of(b"").to_string(), EMPTY);
        assert_eq!(Verifier::new().finish().to_string(), EMPTY);
    }

    #[test]
    fn pieces_hash_like_the_whole() {
        let mut verifier = Verifier::new();
        verifier.update(b"ab");
        verifier.update(b"c");
        assert_eq!(verifier.bytes(), 3);
        assert_eq!(verifier.finish(), Digest::of(b"abc"));
    }

    #[test]
    fn a_digest_is_gone_on_with_from_any_byte() {
        let text: Vec<u8> = (0..200).collect();
        for at in 0..text.len() {
            let mut verifier = Verifier::new();
            verifier.update(&text[..at]);
            let mut again = Verifier::from_state(&verifier.state()).expect("state");
            again.update(&text[at..]);
            assert_eq!((again.bytes(), again.finish()), (200, Digest::of(&text)));
        }
        for bad in [&b""[..], &[0; 8], &[0xff; 200]] {
            assert!(Verifier::from_state(bad).is_none());
        }
    }

    #[test]
    fn only_the_canonical_form_parses() {
        assert_eq!(Digest::parse(EMPTY).map(|d| d.to_string()), Ok(EMPTY.to_owned()));
        for bad in ["", "sha256", "sha256:", "sha256:e3", &EMPTY.to_uppercase(), &EMPTY.replace('e', "g")] {
            assert!(Digest::parse(bad).is_err(), "{bad}");
        }
        assert_eq!(Digest::parse("sha512:00"), Err(DigestError::Algorithm("sha512:00".to_owned())));
    }
}

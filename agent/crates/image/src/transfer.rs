//! A blob as it arrives from a registry, however often the connection breaks.
//!
//! Whoever reads sees one stream. What has arrived is not asked for again: after a break the next request is for the
//! bytes from there on (RFC 9110, section 14). That needs nothing from whoever reads.

use crate::manifest::Blob;
use crate::registry::{Client, RegistryError};
use crate::retry::Retries;
use std::io::{self, Read};
use std::time::{Duration, Instant};

/// Reads the bytes of one blob. An error of it is a [`RegistryError`] within an `io::Error`, and final: what may pass
/// has been tried again.
pub(crate) struct Transfer<'a> {
    client: &'a Client,
    blob: Blob,
    arrived: u64,
    answer: Option<Answer>,
    retries: Retries<'a>,
}

/// One request's.
struct Answer {
    body: Box<dyn Read>,
    /// Bytes that it begins with although they were not asked for.
    known: u64,
    pace: Pace,
}

impl<'a> Transfer<'a> {
    /// Begins with that byte. Nothing is asked for before something is read.
    pub(crate) fn new(client: &'a Client, blob: Blob, from: u64, retries: Retries<'a>) -> Self {
        Self { client, blob, arrived: from, answer: None, retries }
    }

    fn read_once(&mut self, buffer: &mut [u8]) -> Result<usize, RegistryError> {
        let answer = match &mut self.answer {
            Some(answer) => answer,
            none => none.insert(Answer::open(self.client, &self.blob, self.arrived)?),
        };
        loop {
            let most = buffer.len().min(usize::try_from(answer.known).unwrap_or(usize::MAX));
            let part = if most == 0 { &mut *buffer } else { &mut buffer[..most] };
            let count = answer.read(part)?;
            if count == 0 && self.arrived < self.blob.size {
                let (arrived, size) = (self.arrived, self.blob.size);
                let text = format!("ended after {arrived} of {size} B");
                return Err(RegistryError::Broken(io::Error::new(io::ErrorKind::UnexpectedEof, text)));
            }
            if answer.known == 0 || count == 0 {
                return Ok(count);
            }
            answer.known -= count as u64;
        }
    }
}

impl Read for Transfer<'_> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        // All of it may have arrived before.
        if buffer.is_empty() || self.answer.is_none() && self.arrived >= self.blob.size && self.arrived > 0 {
            return Ok(0);
        }
        loop {
            match self.read_once(buffer) {
                Ok(count) => {
                    self.arrived += count as u64;
                    self.retries.got_on(count as u64);
                    return Ok(count);
                }
                // All of it is here; how the connection ends is nobody's business.
                Err(_) if self.arrived >= self.blob.size && self.answer.is_some() => return Ok(0),
                Err(error) => {
                    self.answer = None;
                    let asked = error.retry_after();
                    if !error.is_passing() || !self.retries.again(&error, asked) {
                        return Err(io::Error::other(error));
                    }
                }
            }
        }
    }
}

impl Answer {
    fn open(client: &Client, blob: &Blob, from: u64) -> Result<Self, RegistryError> {
        let (body, known) = client.blob(&blob.digest, from)?;
        Ok(Self { body, known, pace: Pace::default() })
    }

    fn read(&mut self, buffer: &mut [u8]) -> Result<usize, RegistryError> {
        let started = Instant::now();
        let count = loop {
            match self.body.read(buffer) {
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                other => break other.map_err(RegistryError::Broken)?,
            }
        };
        match self.pace.keeps(started.elapsed(), count) {
            true => Ok(count),
            false => Err(RegistryError::TooSlow),
        }
    }
}

/// How fast bytes come, while they are waited for: our own storage may be as slow as it is.
#[derive(Default)]
struct Pace {
    waited: Duration,
    bytes: u64,
}

/// A sender that gives fewer bytes than this …
pub(crate) const SLOWEST_BYTES: u64 = 4 << 10;
/// … in this time of waiting for it is given up. Half of what a 1G modem carries.
pub(crate) const SLOWEST_WINDOW: Duration = Duration::from_secs(60);

impl Pace {
    fn keeps(&mut self, waited: Duration, count: usize) -> bool {
        self.waited += waited;
        self.bytes += count as u64;
        if self.waited < SLOWEST_WINDOW {
            return true;
        }
        std::mem::take(self).bytes >= SLOWEST_BYTES
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_trickle_is_given_up_after_a_window_and_a_slow_link_is_not() {
        let fails = |bytes: usize| {
            let mut pace = Pace::default();
            (0..61).any(|_| !pace.keeps(Duration::from_secs(1), bytes))
        };
        assert!(fails(1));
        assert!(!fails(100));
    }
}

//! One end of a pipe or terminal, as text in one direction and bytes in the other.

use nix::fcntl::{FcntlArg, OFlag, fcntl};
use std::fs::File;
use std::io::{self, Read, Write};
use std::os::fd::{AsRawFd, OwnedFd};
use tokio::io::unix::AsyncFd;

/// How much is read at a time, and so the most text of one frame.
const CHUNK_BYTES: usize = 16 << 10;
/// The longest UTF-8 character is 4 bytes, so at most 3 of one can be missing.
const PARTIAL_BYTES: usize = 3;

/// A non-blocking descriptor that is read as text.
pub(super) struct Pipe {
    file: AsyncFd<File>,
    /// The first bytes of a character whose rest has not arrived yet.
    partial: Vec<u8>,
}

impl Pipe {
    /// Takes a descriptor and makes it non-blocking.
    pub(super) fn open(fd: OwnedFd) -> io::Result<Self> {
        let flags = OFlag::from_bits_retain(fcntl(fd.as_raw_fd(), FcntlArg::F_GETFL)?);
        fcntl(fd.as_raw_fd(), FcntlArg::F_SETFL(flags | OFlag::O_NONBLOCK))?;
        Ok(Self { file: watch(fd)?, partial: Vec::new() })
    }

    /// Writes everything, waiting for room.
    pub(super) async fn write_all(&mut self, mut bytes: &[u8]) -> io::Result<()> {
        while !bytes.is_empty() {
            let mut ready = self.file.writable().await?;
            if let Ok(written) = ready.try_io(|file| file.get_ref().write(bytes)) {
                bytes = &bytes[written?..];
            }
        }
        Ok(())
    }

    /// Waits for text; `None` at the end. Nothing is lost when the wait is given up.
    pub(super) async fn read(&mut self) -> Option<String> {
        let mut buffer = [0; CHUNK_BYTES];
        loop {
            let mut ready = match self.file.readable().await {
                Ok(ready) => ready,
                Err(_) => return self.rest(),
            };
            match ready.try_io(|file| file.get_ref().read(&mut buffer)) {
                Err(_not_ready) => {}
                Ok(Err(error)) if error.kind() == io::ErrorKind::Interrupted => {}
                // A terminal whose other side is closed says EIO instead of end-of-file.
                Ok(Ok(0) | Err(_)) => return self.rest(),
                Ok(Ok(read)) => {
                    let text = self.text(&buffer[..read]);
                    if !text.is_empty() {
                        return Some(text);
                    }
                }
            }
        }
    }

    /// Text that is there already; `None` when there is none.
    pub(super) fn read_now(&mut self) -> Option<String> {
        let mut buffer = [0; CHUNK_BYTES];
        match self.file.get_ref().read(&mut buffer) {
            Ok(read) if read > 0 => Some(self.text(&buffer[..read])),
            _ => self.rest(),
        }
    }

    /// Bytes to text, an unfinished character at the end kept for the next time.
    fn text(&mut self, bytes: &[u8]) -> String {
        self.partial.extend_from_slice(bytes);
        let keep = unfinished(&self.partial);
        let rest = self.partial.split_off(self.partial.len() - keep);
        let whole = std::mem::replace(&mut self.partial, rest);
        String::from_utf8(whole)
            .unwrap_or_else(|error| String::from_utf8_lossy(error.as_bytes()).into_owned())
    }

    /// What is left of an unfinished character, once.
    fn rest(&mut self) -> Option<String> {
        let partial = std::mem::take(&mut self.partial);
        (!partial.is_empty()).then(|| String::from_utf8_lossy(&partial).into_owned())
    }
}

/// Registers a descriptor with the runtime. The constructor is deprecated because a type that lies about
/// its descriptor could misuse it; a file owns its one descriptor, and the other constructor is unsafe.
#[allow(deprecated)]
pub(super) fn watch(fd: OwnedFd) -> io::Result<AsyncFd<File>> {
    AsyncFd::new(File::from(fd))
}

/// How many bytes at the end may be the beginning of a character.
fn unfinished(bytes: &[u8]) -> usize {
    (1..=PARTIAL_BYTES.min(bytes.len()))
        .find(|count| {
            let tail = &bytes[bytes.len() - count..];
            let length = match tail[0] {
                0xc2..=0xdf => 2,
                0xe0..=0xef => 3,
                0xf0..=0xf4 => 4,
                _ => 0,
            };
            length > *count && tail[1..].iter().all(|byte| (0x80..=0xbf).contains(byte))
        })
        .unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_unfinished_character_is_told_from_rubbish() {
        let cases: [(&[u8], usize); 9] = [
            (b"", 0),
            (b"abc", 0),
            ("é".as_bytes(), 0),
            (b"a\xc3", 1),
            (b"a\xe2\x82", 2),
            (b"a\xf0\x9f\x98", 3),
            (b"a\xff", 0),
            (b"a\x82", 0),
            (b"\xe2\xe2", 1),
        ];
        for (bytes, want) in cases {
            assert_eq!(unfinished(bytes), want, "{bytes:?}");
        }
    }
}

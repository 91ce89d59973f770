//! Tar archives as a stream of members: ustar, PAX, GNU and old V7, with the sparse formats of GNU tar.
//!
//! Bytes are only parsed here; nothing is written. The `tar` crate reads the fields of a header. Walking,
//! PAX records, long names and sparse maps are done here, because each needs a limit, and because the
//! size of a member must be known the same way to everything that reads the archive.

mod member;
mod pax;
mod sparse;

pub(crate) use member::{Kind, Member};
pub(crate) use sparse::Extent;

use edgelet_types::limits;
use member::Extensions;
use pax::Records;
use std::io::{self, Read, Seek, SeekFrom};

/// Reads an archive member by member.
pub(crate) struct TarReader<R> {
    source: R,
    /// Bytes of the current member's data that have not been read.
    data_left: u64,
    /// Bytes that fill the current member's last block.
    padding: u64,
    /// PAX records that hold for all members that follow.
    global: Records,
    /// The bytes that said so.
    global_headers: Vec<u8>,
    /// The bytes of the current member before its data.
    headers: Vec<u8>,
    /// What is read before the source.
    replay: std::io::Cursor<Vec<u8>>,
}

/// Why bytes are not an archive that we unpack.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum TarError {
    /// The stream below failed.
    #[error("read archive")]
    Read(#[source] io::Error),
    /// The archive ends within a member.
    #[error("the archive ends in the middle of a member")]
    Truncated,
    /// A header that is none.
    #[error("the archive is damaged: {0}")]
    Malformed(String),
    /// A kind of member that no image should have, such as the second volume of a multi-volume archive.
    #[error("members of type {0:?} are not supported")]
    Unsupported(char),
    /// More than the named limit.
    #[error("{what} above the limit of {limit}")]
    TooMuch {
        /// What there is too much of.
        what: &'static str,
        /// How much is accepted.
        limit: u64,
    },
}

const BLOCK: usize = 512;

impl<R: Read> TarReader<R> {
    /// Starts at the first byte of an archive.
    pub(crate) fn new(source: R) -> Self {
        Self::after(Vec::new(), source)
    }

    /// Goes on from the middle of one, after bytes that [`Self::headers`] gave.
    pub(crate) fn after(headers: Vec<u8>, source: R) -> Self {
        Self {
            source,
            data_left: 0,
            padding: 0,
            global: Records::default(),
            global_headers: Vec::new(),
            headers: Vec::new(),
            replay: std::io::Cursor::new(headers),
        }
    }

    /// What an archive is read from.
    pub(crate) fn source(&self) -> &R {
        &self.source
    }

    /// What another reader has to see first to be in the middle of the current member's data, or behind it after
    /// [`Self::end_member`]: what holds for all members, and then the member's own headers.
    pub(crate) fn headers(&self) -> [&[u8]; 2] {
        [&self.global_headers, &self.headers]
    }

    /// Passes over what is left of the current member.
    pub(crate) fn end_member(&mut self) -> Result<(), TarError> {
        self.skip_data()?;
        self.headers.clear();
        Ok(())
    }

    /// Counts the first bytes of the current member's data as read.
    pub(crate) fn pass_over(&mut self, bytes: u64) -> Result<(), TarError> {
        self.data_left = self.data_left.checked_sub(bytes).ok_or(TarError::Truncated)?;
        Ok(())
    }

    /// The next member, or `None` at the end of the archive. What is left of the last member's data is
    /// passed over.
    pub(crate) fn next(&mut self) -> Result<Option<Member>, TarError> {
        self.end_member()?;
        let mut extensions = Extensions::default();
        loop {
            let Some(block) = self.header()? else {
                return match extensions.is_empty() {
                    true => Ok(None),
                    false => Err(TarError::Truncated),
                };
            };
            let header = tar::Header::from_byte_slice(&block);
            match header.entry_type().as_byte() {
                b'x' => extensions.pax = Some(pax::parse(&self.extension(header, &mut extensions)?)?),
                b'g' => {
                    let (from, said) = (self.headers.len() - BLOCK, extensions.bytes);
                    let records = pax::parse(&self.extension(header, &mut extensions)?)?;
                    self.global.merge(records);
                    self.global.check_size()?;
                    self.keep_for_all(from)?;
                    // Nothing of it is about the member that follows, and none need follow.
                    extensions.bytes = said;
                }
                b'L' => extensions.name = Some(until_zero(self.extension(header, &mut extensions)?)),
                b'K' => extensions.link = Some(until_zero(self.extension(header, &mut extensions)?)),
                _ => return self.member(&block, extensions).map(Some),
            }
        }
    }

    /// What holds for all members has been said by the headers from there on.
    fn keep_for_all(&mut self, from: usize) -> Result<(), TarError> {
        self.global_headers.extend(self.headers.drain(from..));
        match self.global_headers.len() as u64 > limits::LAYER_HEADER_BYTES {
            true => {
                Err(TarError::TooMuch { what: "bytes of global headers", limit: limits::LAYER_HEADER_BYTES })
            }
            false => Ok(()),
        }
    }

    /// Reads from the current member's data; 0 at its end.
    pub(crate) fn read(&mut self, buffer: &mut [u8]) -> Result<usize, TarError> {
        let most = buffer.len().min(usize::try_from(self.data_left).unwrap_or(usize::MAX));
        if most == 0 {
            return Ok(0);
        }
        match self.read_some(&mut buffer[..most])? {
            0 => Err(TarError::Truncated),
            count => {
                self.data_left -= count as u64;
                Ok(count)
            }
        }
    }

    /// The member that `block` starts, once all that was said before it is known.
    fn member(&mut self, block: &[u8; BLOCK], extensions: Extensions) -> Result<Member, TarError> {
        let header = tar::Header::from_byte_slice(block);
        let (mut member, stored) = member::build(header, &self.global, extensions)?;
        self.expect_data(stored)?;
        if block[156] == b'S' {
            self.old_gnu_sparse(block, &mut member)?;
        } else if member.sparse_map_in_data {
            member.sparse = Some(sparse::from_data(self)?);
        }
        sparse::check(&member, self.data_left)?;
        Ok(member)
    }

    /// The oldest format has its map in the header and, where that is too small, in blocks after it.
    fn old_gnu_sparse(&mut self, block: &[u8; BLOCK], member: &mut Member) -> Result<(), TarError> {
        let (mut extents, size, mut more) = sparse::old_header(block)?;
        while more {
            let block = self.block()?.ok_or(TarError::Truncated)?;
            more = sparse::old_extension(&block, &mut extents)?;
        }
        member.sparse = Some(extents);
        member.size = size;
        Ok(())
    }

    /// The next header block with a good checksum; `None` at the end of the archive.
    fn header(&mut self) -> Result<Option<[u8; BLOCK]>, TarError> {
        let Some(block) = self.block()? else { return Ok(None) };
        if block.iter().all(|byte| *byte == 0) {
            // Two of them end an archive (POSIX.1-2017, pax, "ustar Interchange Format"). Other readers
            // go on after a lone one, so what follows it could be seen by them and not by us.
            return match self.block()? {
                Some(second) if second.iter().any(|byte| *byte != 0) => {
                    Err(TarError::Malformed("data after a single zero block".to_owned()))
                }
                _ => Ok(None),
            };
        }
        let header = tar::Header::from_byte_slice(&block);
        let sum: u32 = block[..148].iter().chain(&block[156..]).map(|byte| u32::from(*byte)).sum();
        match header.cksum() {
            Ok(stored) if stored == sum + 8 * 32 => {
                self.headers.extend_from_slice(&block);
                Ok(Some(block))
            }
            _ => Err(TarError::Malformed("a header's checksum is wrong".to_owned())),
        }
    }

    /// The data of an extension header, all of it in memory and therefore limited.
    fn extension(&mut self, header: &tar::Header, seen: &mut Extensions) -> Result<Vec<u8>, TarError> {
        let size = header.entry_size().map_err(malformed)?;
        seen.bytes = seen.bytes.saturating_add(size).saturating_add(BLOCK as u64);
        if seen.bytes > limits::LAYER_HEADER_BYTES {
            return Err(TarError::TooMuch {
                what: "bytes of extended headers",
                limit: limits::LAYER_HEADER_BYTES,
            });
        }
        self.expect_data(size)?;
        let mut data = vec![0; usize::try_from(size).unwrap_or_default()];
        let mut done = 0;
        while done < data.len() {
            done += self.read(&mut data[done..])?;
        }
        self.headers.extend_from_slice(&data);
        self.headers.resize(self.headers.len().next_multiple_of(BLOCK), 0);
        self.skip_data()?;
        Ok(data)
    }

    fn expect_data(&mut self, size: u64) -> Result<(), TarError> {
        // Above this the block arithmetic would overflow, and no medium holds it.
        if size > 1 << 62 {
            return Err(TarError::Malformed(format!("a member of {size} bytes")));
        }
        self.data_left = size;
        self.padding = size.next_multiple_of(BLOCK as u64) - size;
        Ok(())
    }

    fn skip_data(&mut self) -> Result<(), TarError> {
        let mut left = self.data_left + self.padding;
        let mut scratch = [0; 8192];
        while left > 0 {
            let most = scratch.len().min(usize::try_from(left).unwrap_or(usize::MAX));
            match self.read_some(&mut scratch[..most])? {
                // Some writers (umoci) do not fill the last block of an archive.
                0 if left <= self.padding => break,
                0 => return Err(TarError::Truncated),
                count => left -= count as u64,
            }
        }
        (self.data_left, self.padding) = (0, 0);
        Ok(())
    }

    fn read_some(&mut self, buffer: &mut [u8]) -> Result<usize, TarError> {
        match self.replay.read(buffer) {
            Ok(0) | Err(_) => {}
            Ok(count) => return Ok(count),
        }
        loop {
            match self.source.read(buffer) {
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                result => return result.map_err(TarError::Read),
            }
        }
    }

    /// One block; `None` when the stream is at its end.
    fn block(&mut self) -> Result<Option<[u8; BLOCK]>, TarError> {
        let mut block = [0; BLOCK];
        let mut done = 0;
        while done < BLOCK {
            match self.read_some(&mut block[done..])? {
                0 if done == 0 => return Ok(None),
                0 => return Err(TarError::Truncated),
                count => done += count,
            }
        }
        Ok(Some(block))
    }
}

impl<R: Read + Seek> TarReader<R> {
    /// Where in the stream the current member's data starts; the stream is moved past it.
    pub(crate) fn seek_past_data(&mut self) -> Result<u64, TarError> {
        let start = self.source.stream_position().map_err(TarError::Read)?;
        let end = self.source.seek(SeekFrom::Start(start.saturating_add(self.data_left + self.padding)));
        end.map_err(TarError::Read)?;
        (self.data_left, self.padding) = (0, 0);
        Ok(start)
    }
}

fn until_zero(mut bytes: Vec<u8>) -> Vec<u8> {
    let end = bytes.iter().position(|byte| *byte == 0).unwrap_or(bytes.len());
    bytes.truncate(end);
    bytes
}

fn malformed(error: io::Error) -> TarError {
    TarError::Malformed(error.to_string())
}

#[cfg(test)]
mod tests;

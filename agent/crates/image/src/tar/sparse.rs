//! Sparse files: the four ways in which GNU tar has stored them (GNU tar manual, "Storing Sparse Files").

use super::member::Member;
use super::pax::{self, Records};
use super::{BLOCK, TarError, TarReader};
use edgelet_types::limits;
use std::io::Read;

/// A run of data in a file that has holes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Extent {
    pub(crate) offset: u64,
    pub(crate) length: u64,
}

/// The most extents of one file: what fits into the limit of a header at two bytes per number.
const EXTENTS: u64 = limits::LAYER_HEADER_BYTES / 4;

/// Formats 0.0 and 0.1: the map is in the PAX records.
pub(super) fn from_records(records: &Records) -> Result<Option<Vec<Extent>>, TarError> {
    match records.sparse_version {
        Some((1, 0)) => return Ok(None),
        None | Some((0, 0 | 1)) => {}
        Some((major, minor)) => return Err(malformed(&format!("format {major}.{minor} is unknown"))),
    }
    let Some(count) = records.sparse_count else {
        return match records.sparse_map.is_empty() {
            true => Ok(None),
            false => Err(malformed("a map without its length")),
        };
    };
    match records.sparse_map.len() as u64 == count {
        true => Ok(Some(records.sparse_map.clone())),
        false => Err(malformed("the map has another length than it says")),
    }
}

/// Format 1.0: the map stands before the data, as decimal lines, filled up to whole blocks.
pub(super) fn from_data<R: Read>(tar: &mut TarReader<R>) -> Result<Vec<Extent>, TarError> {
    let mut lines = Lines { tar, block: [0; BLOCK], position: BLOCK };
    let count = lines.number()?;
    if count > EXTENTS {
        return Err(TarError::TooMuch { what: "extents of a sparse file", limit: EXTENTS });
    }
    let mut extents = Vec::new();
    for _ in 0..count {
        extents.push(Extent { offset: lines.number()?, length: lines.number()? });
    }
    Ok(extents)
}

/// The oldest format: four extents in the header at 386, a flag for more at 482, the size at 483.
pub(super) fn old_header(block: &[u8; BLOCK]) -> Result<(Vec<Extent>, u64, bool), TarError> {
    let mut extents = Vec::new();
    old_extents(&block[386..482], &mut extents)?;
    Ok((extents, octal(&block[483..495])?, block[482] != 0))
}

/// A block of 21 more extents; says whether there is another.
pub(super) fn old_extension(block: &[u8; BLOCK], extents: &mut Vec<Extent>) -> Result<bool, TarError> {
    old_extents(&block[..504], extents)?;
    match extents.len() as u64 > EXTENTS {
        true => Err(TarError::TooMuch { what: "extents of a sparse file", limit: EXTENTS }),
        false => Ok(block[504] != 0),
    }
}

/// Extents must be in order, must not overlap, must end within the file, and must hold exactly the data.
pub(super) fn check(member: &Member, data: u64) -> Result<(), TarError> {
    let Some(extents) = &member.sparse else { return Ok(()) };
    let (mut end, mut sum) = (0u64, 0u64);
    for extent in extents {
        let next = extent.offset.checked_add(extent.length);
        if extent.offset < end || next.is_none_or(|next| next > member.size) {
            return Err(malformed("extents overlap or leave the file"));
        }
        end = next.unwrap_or(end);
        sum = sum.saturating_add(extent.length);
    }
    match sum == data {
        true => Ok(()),
        false => Err(malformed("extents hold another amount of data than the member")),
    }
}

fn old_extents(bytes: &[u8], extents: &mut Vec<Extent>) -> Result<(), TarError> {
    for pair in bytes.chunks_exact(24) {
        if pair[0] == 0 {
            break;
        }
        extents.push(Extent { offset: octal(&pair[..12])?, length: octal(&pair[12..])? });
    }
    Ok(())
}

/// Octal digits, or a big-endian number when the highest bit is set.
fn octal(field: &[u8]) -> Result<u64, TarError> {
    if field[0] & 0x80 != 0 {
        let (head, tail) = field.split_at(field.len() - 8);
        let number = tail.iter().fold(0, |sum, byte| sum << 8 | u64::from(*byte));
        return match head[0] == 0x80 && head[1..].iter().all(|byte| *byte == 0) {
            true => Ok(number),
            false => Err(malformed("a number is out of range")),
        };
    }
    let text = String::from_utf8_lossy(field);
    u64::from_str_radix(text.trim_matches(['\0', ' ']), 8).map_err(|_| malformed("a number is not octal"))
}

struct Lines<'a, R> {
    tar: &'a mut TarReader<R>,
    block: [u8; BLOCK],
    position: usize,
}

impl<R: Read> Lines<'_, R> {
    fn number(&mut self) -> Result<u64, TarError> {
        let mut digits = Vec::new();
        loop {
            if self.position == BLOCK {
                let mut done = 0;
                while done < BLOCK {
                    match self.tar.read(&mut self.block[done..])? {
                        0 => return Err(malformed("the map is longer than the data")),
                        count => done += count,
                    }
                }
                self.position = 0;
            }
            let byte = self.block[self.position];
            self.position += 1;
            match byte {
                b'\n' => return pax::number(&digits).ok_or_else(|| malformed("a number is not decimal")),
                _ if digits.len() < 20 => digits.push(byte),
                _ => return Err(malformed("a number is too long")),
            }
        }
    }
}

fn malformed(text: &str) -> TarError {
    TarError::Malformed(format!("sparse file: {text}"))
}

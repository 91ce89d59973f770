//! Gzip (RFC 1952): what is around a deflate stream. Its sums are not looked at, because two digests are.

use super::Step;
use edgelet_sys::inflate::{At, Boundary, Inflate};
use std::io;

/// A decoder of all members, one after the other.
pub(super) struct Gzip {
    part: Part,
    /// The byte that was consumed last, a part of which may belong to the next block.
    last: u8,
}

enum Part {
    Header,
    Body(Inflate),
    /// Bytes of the sums that are still to come.
    Trailer(usize),
}

impl Gzip {
    pub(super) fn new() -> io::Result<Self> {
        Self::at(None)
    }

    /// Between two blocks, or before a member.
    pub(super) fn at(boundary: Option<&Boundary>) -> io::Result<Self> {
        let part = match boundary {
            Some(boundary) => Part::Body(Inflate::at(boundary)?),
            None => Part::Header,
        };
        Ok(Self { part, last: 0 })
    }

    pub(super) fn step(&mut self, input: &[u8], output: &mut [u8]) -> io::Result<Step> {
        let step = match &mut self.part {
            Part::Header => match header_length(input)? {
                Some(length) => {
                    self.part = Part::Body(Inflate::new()?);
                    Step { consumed: length, ..Step::default() }
                }
                None if input.len() >= super::BUFFER => {
                    return Err(damaged("a gzip header that does not end"));
                }
                None => Step { may_end: true, ..Step::default() },
            },
            Part::Body(inflate) => {
                let step = inflate.step(input, output)?;
                if step.at == At::End {
                    self.part = Part::Trailer(TRAILER_BYTES);
                    if step.consumed == 0 && step.produced == 0 {
                        return self.step(input, output);
                    }
                }
                let at_point = step.at == At::Boundary;
                Step { consumed: step.consumed, produced: step.produced, at_point, may_end: false }
            }
            Part::Trailer(left) => {
                let count = input.len().min(*left);
                *left -= count;
                let is_done = *left == 0;
                if is_done {
                    self.part = Part::Header;
                }
                Step { consumed: count, at_point: is_done, ..Step::default() }
            }
        };
        self.last = input[..step.consumed].last().copied().unwrap_or(self.last);
        Ok(step)
    }

    /// What is known between two blocks, or between two members; `None` elsewhere.
    pub(super) fn point(&mut self) -> Option<Option<Boundary>> {
        match &mut self.part {
            Part::Header => Some(None),
            Part::Body(inflate) => inflate.boundary(self.last).ok().map(Some),
            Part::Trailer(_) => None,
        }
    }
}

/// A checksum and a size.
const TRAILER_BYTES: usize = 8;

/// How long a member's header is; `None` when more of it is needed.
fn header_length(input: &[u8]) -> io::Result<Option<usize>> {
    const FIXED: usize = 10;
    const HEADER_SUM: u8 = 2;
    const EXTRA: u8 = 4;
    const NAME: u8 = 8;
    const COMMENT: u8 = 16;
    let is_one = input.iter().zip([0x1f, 0x8b, 8]).all(|(found, wanted)| *found == wanted);
    if !is_one {
        return Err(damaged("no gzip header where one must be"));
    }
    let Some(&flags) = input.get(3).filter(|_| input.len() >= FIXED) else { return Ok(None) };
    let mut length = FIXED;
    if flags & EXTRA != 0 {
        let Some(size) = input.get(length..length + 2) else { return Ok(None) };
        length += 2 + usize::from(u16::from_le_bytes([size[0], size[1]]));
    }
    for text in [NAME, COMMENT] {
        if flags & text != 0 {
            let rest = input.get(length..).unwrap_or_default();
            let Some(end) = rest.iter().position(|byte| *byte == 0) else { return Ok(None) };
            length += end + 1;
        }
    }
    if flags & HEADER_SUM != 0 {
        length += 2;
    }
    Ok((length <= input.len()).then_some(length))
}

fn damaged(text: &str) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, text)
}

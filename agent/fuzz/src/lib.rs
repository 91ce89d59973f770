//! What several fuzz targets need: archives that pass their checksums, and a place to unpack them in.

#![forbid(unsafe_code)]

pub mod place;
pub mod tar;

/// Cuts the input into `N` pieces at zero bytes; what is missing is empty.
pub fn pieces<const N: usize>(data: &[u8]) -> [&[u8]; N] {
    let mut pieces = data.splitn(N, |byte| *byte == 0);
    std::array::from_fn(|_| pieces.next().unwrap_or_default())
}

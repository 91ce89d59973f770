//! Doors to the parsers for fuzz targets.

pub use crate::lines::{Lines, Stream};

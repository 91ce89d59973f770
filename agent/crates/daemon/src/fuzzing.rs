//! Doors to the parsers for fuzz targets.

pub use crate::bundle::{Identity, resolve_identity};
pub use crate::node::logs::read as read_log;

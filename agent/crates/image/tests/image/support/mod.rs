//! What the tests stand on.

pub(crate) mod node;
pub(crate) mod scripted;
pub(crate) mod tokens;
pub(crate) mod tree;

pub(crate) use edgelet_testkit::{disk, layout, registry, run, write};

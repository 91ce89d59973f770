//! Doors to the parsers for fuzz targets.

use crate::config::Config;
use crate::error::CreateError;
use crate::seccomp::Filter;
use edgelet_sys::seccomp::Instruction;
use std::path::PathBuf;

/// Checks the text of a `config.json`.
pub fn config(bytes: &[u8]) -> Result<(), CreateError> {
    Config::parse(bytes.to_vec(), PathBuf::from("/bundle")).map(drop)
}

/// Compiles a system call profile; `None` when it is refused.
pub fn seccomp(profile: &[u8]) -> Option<Vec<Instruction>> {
    let profile = serde_json::from_slice(profile).ok()?;
    Filter::compile(&profile).ok().map(|filter| filter.program)
}

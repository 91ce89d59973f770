//! Doors to the parsers for fuzz targets.

use crate::Id;
use crate::config::Config;
use crate::error::CreateError;
use crate::record::Record;
use crate::seccomp::Filter;
use crate::systemd::message::{self, Message};
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

/// Reads a message of the service manager: how long it says it is, and the texts in its body.
pub fn service_manager(bytes: &[u8]) -> Option<(usize, Vec<String>)> {
    let length = message::length(bytes.first_chunk()?).ok()?;
    let message = Message::decode(bytes).ok()?;
    let texts =
        (0..message.values.len()).filter_map(|place| message.text(place).map(str::to_owned)).collect();
    Some((length, texts))
}

/// Reads the record of a container: where its group is.
pub fn state(bytes: &[u8]) -> Option<PathBuf> {
    let record: Record = serde_json::from_slice(bytes).ok()?;
    let cgroup = record.cgroup(&Id::parse("x").ok()?).ok()?;
    Some(cgroup.path().to_owned())
}

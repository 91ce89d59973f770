//! What tests of several crates stand on: images made byte by byte, Debian's registry on a port of its own,
//! small file systems. Only tests depend on it; nothing shipped does.
//!
//! Everything panics on failure, as tests do, and takes itself down when dropped.

#![allow(clippy::new_without_default, reason = "a test says what it makes")]

pub mod disk;
pub mod layout;
pub mod registry;

use std::path::Path;
use std::process::{Command, Output};

/// Writes a file; durability does not matter to a test.
pub fn write(path: impl AsRef<Path>, bytes: impl AsRef<[u8]>) {
    let path = path.as_ref();
    let written =
        std::fs::File::create(path).and_then(|mut file| std::io::Write::write_all(&mut file, bytes.as_ref()));
    written.unwrap_or_else(|error| panic!("write {path:?}: {error}"));
}

/// Runs a program to its end, which must be a good one.
pub fn run(command: &mut Command) -> Output {
    let output = command.output().unwrap_or_else(|error| panic!("{command:?}: {error}"));
    let text = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{command:?}: {}\n{text}", output.status);
    output
}

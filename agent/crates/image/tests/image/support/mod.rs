//! What the tests stand on.

pub(crate) mod disk;
pub(crate) mod layout;
pub(crate) mod node;
pub(crate) mod registry;
pub(crate) mod scripted;
pub(crate) mod tokens;
pub(crate) mod tree;

use std::path::Path;
use std::process::{Command, Output};

/// Writes a file; durability does not matter to a test.
pub(crate) fn write(path: impl AsRef<Path>, bytes: impl AsRef<[u8]>) {
    let path = path.as_ref();
    let written =
        std::fs::File::create(path).and_then(|mut file| std::io::Write::write_all(&mut file, bytes.as_ref()));
    written.unwrap_or_else(|error| panic!("write {path:?}: {error}"));
}

/// Runs a program to its end, which must be a good one.
pub(crate) fn run(command: &mut Command) -> Output {
    let output = command.output().unwrap_or_else(|error| panic!("{command:?}: {error}"));
    let text = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{command:?}: {}\n{text}", output.status);
    output
}

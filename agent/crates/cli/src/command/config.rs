//! `init-config`: the default configuration, where there is none.

use super::Context;
use crate::exit::Failure;
use crate::output;
use edgelet_api::error::Code;
use edgelet_types::config::Config;
use serde_json::json;
use std::fs::{DirBuilder, File, OpenOptions, hard_link, remove_file};
use std::io::{self, ErrorKind, Write};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::Path;

pub(super) fn init(context: &Context) -> Result<(), Failure> {
    let path = context.layout.config();
    let is_new = write_new(&path, Config::DEFAULT_FILE.as_bytes())
        .map_err(|error| Failure::local(Code::Internal, format!("write {}: {error}", path.display())))?;
    let value = json!({"path": path, "written": is_new});
    output::result(context.look.format, &value, |out| match is_new {
        true => writeln!(out, "{} written", path.display()),
        false => writeln!(out, "{} exists already and is left as it is", path.display()),
    })
}

/// Publishes a file that is not there yet, whole or not at all; false when it is there. The last step is
/// a link, which unlike a rename never replaces what somebody else wrote meanwhile.
fn write_new(path: &Path, content: &[u8]) -> io::Result<bool> {
    let directory = path.parent().expect("the configuration is in a directory");
    DirBuilder::new().recursive(true).mode(0o700).create(directory)?;
    let staged = path.with_extension(format!("new-{}", std::process::id()));
    let written = stage(&staged, content).and_then(|()| match hard_link(&staged, path) {
        Err(error) if error.kind() == ErrorKind::AlreadyExists => Ok(false),
        linked => linked.map(|()| true),
    });
    // What was staged is of no use any more, whatever happened.
    let removed = remove_file(&staged);
    let is_new = written?;
    removed?;
    File::open(directory)?.sync_all()?;
    Ok(is_new)
}

fn stage(path: &Path, content: &[u8]) -> io::Result<()> {
    let mut file = OpenOptions::new().write(true).create_new(true).mode(0o600).open(path)?;
    file.write_all(content)?;
    file.sync_all()
}

//! The one program. Its name, and the first word, say what it is; this is decided before any thread exists.

#![forbid(unsafe_code)]

use std::ffi::OsString;
use std::path::Path;
use std::process::ExitCode;

fn main() -> ExitCode {
    let arguments: Vec<OsString> = std::env::args_os().collect();
    let name = arguments.first().and_then(|name| Path::new(name).file_name()).unwrap_or_default();
    match name.to_str() {
        Some("edgelet-oci") => edgelet_oci::cli::main(arguments),
        Some(edgelet_shim::zygote::NAME) => edgelet_shim::zygote::main(arguments),
        _ => edgelet_cli::run(arguments.into_iter(), hooks()),
    }
}

/// What the command line cannot know by itself.
fn hooks() -> edgelet_cli::Hooks {
    edgelet_cli::Hooks {
        daemon: edgelet_daemon::run,
        version: edgelet_daemon::VERSION,
        build_time: edgelet_daemon::BUILD_TIME,
        git_commit: edgelet_daemon::GIT_COMMIT,
    }
}

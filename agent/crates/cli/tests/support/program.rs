//! The command line without a daemon behind it, for the tests of this crate.

#![forbid(unsafe_code)]

use std::process::ExitCode;

fn main() -> ExitCode {
    let hooks = edgelet_cli::Hooks {
        daemon: |layout| {
            println!("daemon at {}", layout.prefix().display());
            ExitCode::from(42)
        },
        version: "1.2.3",
        build_time: "2026-11-20T00:00:00Z",
        git_commit: "1234567",
    };
    edgelet_cli::run(std::env::args_os(), hooks)
}

//! The command line: every `edgelet …` word that a person or a script types.
//!
//! What it is not: it holds no state and decides nothing about workloads; it is a thin client of the
//! daemon's local API. The daemon itself is started through a function that the program passes in.
//!
//! Invariants:
//! - Standard output carries the result and nothing else; progress and errors go to standard error.
//! - The exit code says what happened (see [`exit`]); with `-o json|yaml` errors are structured too.
//! - A terminal that was put into raw mode is put back, however the command ends.

#![forbid(unsafe_code)]

mod args;
mod command;
pub mod exit;
mod output;
mod progress;
mod table;
mod terminal;
mod wait;
mod yaml;

pub use command::Hooks;

use clap::CommandFactory;
use std::ffi::OsString;
use std::process::ExitCode;

/// Runs one command to its end. `args` starts with the program's name. Blocking; reads the environment
/// (`EDGELET_PREFIX`, `NO_COLOR`, `CI`, `TERM`) and the standard streams of the process.
pub fn run(args: impl Iterator<Item = OsString>, hooks: Hooks) -> ExitCode {
    let args: Vec<OsString> = args.collect();
    match args::parse(&args) {
        args::Parsed::Command(line) => command::run(line, &hooks),
        args::Parsed::Help(text) => output::show_help(&text),
        args::Parsed::Wrong(failure, look) => output::report(&failure, look),
    }
}

/// The command tree, for those who write manuals of it.
pub fn command() -> clap::Command {
    args::Line::command()
}

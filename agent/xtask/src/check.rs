//! The checks of every change, cheap ones first.

use crate::generated::Mode;
use crate::run::{cargo, run};
use crate::{crates_inc, layering, man};
use anyhow::Result;

/// Everything that needs no run of our own code.
pub fn all() -> Result<()> {
    run(&mut cargo(&["fmt", "--all", "--check"]))?;
    run(&mut cargo(&["fmt", "--manifest-path", "fuzz/Cargo.toml", "--check"]))?;
    layering::check()?;
    crates_inc::make(Mode::Check)?;
    run(&mut cargo(&["clippy", "--workspace", "--all-targets", "--locked", "--", "-D", "warnings"]))?;
    man::make(Mode::Check)?;
    run(cargo(&["doc", "--workspace", "--no-deps", "--document-private-items", "--locked", "--quiet"])
        .env("RUSTDOCFLAGS", "-D warnings"))?;
    // The advisory database is a download of its own: `cargo deny check advisories` where it can be had.
    run(&mut cargo(&["deny", "--locked", "check", "licenses", "bans", "sources"]))
}

/// Unit and crate tests.
pub fn test(filters: &[String]) -> Result<()> {
    let mut command = cargo(&["nextest", "run", "--workspace", "--locked"]);
    run(command.args(filters))
}

//! What developers and CI run: `cargo xtask <word>`.

#![forbid(unsafe_code)]

mod budgets;
mod check;
mod dist;
mod layering;
mod run;
mod sample;

use anyhow::{Result, bail};
use std::process::ExitCode;

const USAGE: &str = "\
cargo xtask <word>

  check                format, clippy, layering, docs, deny: everything that needs no run
  test [FILTER...]     unit and crate tests
  layering             which crate uses which, against the allowed table
  dist [ARCH...]       release builds at target/dist/ARCH (x86_64 aarch64 armv7 riscv64; all by default)
  budgets              sizes of what dist built, memory of a running node (root), against budgets.toml
  sample-image DIR     the sample workload as an OCI image layout (needs dist x86_64 or the host's own)
";

fn main() -> ExitCode {
    let words: Vec<String> = std::env::args().skip(1).collect();
    match dispatch(&words) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("xtask: {error:#}");
            ExitCode::FAILURE
        }
    }
}

fn dispatch(words: &[String]) -> Result<()> {
    match words.split_first().map(|(word, rest)| (word.as_str(), rest)) {
        Some(("check", [])) => check::all(),
        Some(("test", filters)) => check::test(filters),
        Some(("layering", [])) => layering::check(),
        Some(("dist", architectures)) => dist::build(architectures),
        Some(("budgets", [])) => budgets::check(),
        Some(("sample-image", [dir])) => sample::write(dir.as_ref()),
        _ => bail!("{USAGE}"),
    }
}

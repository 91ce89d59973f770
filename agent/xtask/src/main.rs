//! What developers and CI run: `cargo xtask <word>`.

#![forbid(unsafe_code)]

mod arch;
mod budgets;
mod check;
mod crates_inc;
mod dist;
mod fuzz;
mod generated;
mod layering;
mod man;
mod reproducible;
mod run;
mod sample;

use anyhow::{Result, bail};
use generated::Mode;
use std::process::ExitCode;

const USAGE: &str = "\
cargo xtask <word>

  check                format, clippy, layering, generated files, docs, deny: everything that needs no run
  test [FILTER...]     unit and crate tests
  layering             which crate uses which, against the allowed table
  dist [ARCH...]       release builds at target/dist/ARCH (x86_64 aarch64 armv7 riscv64; all by default)
  dist --check-reproducible [ARCH...]
                       the same, then once more from a copy elsewhere, which must give the same bytes
  crates-inc [--check] the recipe's list of crates, from Cargo.lock
  man [--check]        man pages and completions, from the command line's definition
  arch                 foreign programs of dist under emulation: they start, portable unit tests pass
  fuzz SECONDS         every fuzz target for so long
  budgets              sizes of what dist built, memory of a running node (root), against budgets.toml
  sample-image DIR [PROGRAM]
                       the sample workload as an OCI image layout: of what dist built, or of PROGRAM
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
        Some(("dist", [word, architectures @ ..])) if word == "--check-reproducible" => {
            reproducible::check(architectures)
        }
        Some(("dist", architectures)) => dist::build(architectures),
        Some(("crates-inc", arguments)) => crates_inc::make(Mode::parse(arguments)?),
        Some(("man", arguments)) => man::make(Mode::parse(arguments)?),
        Some(("arch", [])) => arch::check(),
        Some(("fuzz", [seconds])) => fuzz::all(seconds.parse()?),
        Some(("budgets", [])) => budgets::check(),
        Some(("sample-image", [dir])) => sample::write(dir.as_ref(), None),
        Some(("sample-image", [dir, program])) => sample::write(dir.as_ref(), Some(program.as_ref())),
        _ => bail!("{USAGE}"),
    }
}

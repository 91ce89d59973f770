//! Runs the fuzz targets with libFuzzer and the stable compiler. Without a sanitizer: all our own code but
//! `sys` is safe Rust, and what is looked for are panics, hangs and memory that grows.

use crate::run::{run, workspace};
use anyhow::{Context, Result};
use std::fs;
use std::process::Command;

/// What libFuzzer needs of the compiler to see which paths an input takes.
const COVERAGE: &str = "--cfg fuzzing -Cpasses=sancov-module -Cllvm-args=-sanitizer-coverage-level=4 \
    -Cllvm-args=-sanitizer-coverage-inline-8bit-counters -Cllvm-args=-sanitizer-coverage-pc-table \
    -Cllvm-args=-sanitizer-coverage-trace-compares -Ccodegen-units=1 -Cdebug-assertions -Coverflow-checks";

/// Runs every target for so many seconds, from the committed corpus; fails on the first finding, which is
/// left in `target/fuzz/TARGET`.
pub fn all(seconds: u64) -> Result<()> {
    let fuzz = workspace().join("fuzz");
    let target = workspace().join("target/fuzz-build");
    run(Command::new("cargo")
        .args(["build", "--quiet", "--release", "--locked", "--target", host()])
        .env("RUSTFLAGS", COVERAGE)
        .env("CARGO_TARGET_DIR", &target)
        .current_dir(&fuzz))?;
    let mut names: Vec<String> = Vec::new();
    for entry in fs::read_dir(fuzz.join("targets")).context("list fuzz targets")? {
        let path = entry?.path();
        names.extend(path.file_stem().map(|stem| stem.to_string_lossy().into_owned()));
    }
    names.sort();
    for name in &names {
        let found = workspace().join("target/fuzz").join(name);
        fs::create_dir_all(&found)?;
        run(Command::new(target.join(host()).join("release").join(name))
            .arg(format!("-max_total_time={seconds}"))
            .args(["-timeout=10", "-rss_limit_mb=512", "-print_final_stats=1", "-verbosity=0"])
            .arg(format!("-artifact_prefix={}/", found.display()))
            .arg(&found)
            .arg(fuzz.join("corpus").join(name)))?;
    }
    println!("fuzz: {} targets, {seconds} s each, no finding", names.len());
    Ok(())
}

/// Naming the host's own triple keeps the coverage flags away from build scripts.
fn host() -> &'static str {
    match std::env::consts::ARCH {
        "aarch64" => "aarch64-unknown-linux-gnu",
        "riscv64" => "riscv64gc-unknown-linux-gnu",
        _ => "x86_64-unknown-linux-gnu",
    }
}

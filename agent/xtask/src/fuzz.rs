//! Runs the fuzz targets with libFuzzer and the stable compiler. Without a sanitizer: all our own code but
//! `sys` is safe Rust, and what is looked for are panics, broken promises, hangs and memory that grows.

use crate::run::{run, target_dir, workspace};
use anyhow::{Context, Result, bail};
use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::Mutex;
use std::thread;

/// What libFuzzer needs of the compiler to see which paths an input takes.
const COVERAGE: &str = "--cfg fuzzing -Cpasses=sancov-module -Cllvm-args=-sanitizer-coverage-level=4 \
    -Cllvm-args=-sanitizer-coverage-inline-8bit-counters -Cllvm-args=-sanitizer-coverage-pc-table \
    -Cllvm-args=-sanitizer-coverage-trace-compares -Ccodegen-units=1 -Cdebug-assertions -Coverflow-checks";

/// Runs every target for so many seconds, from the committed corpus and words, as many at a time as there are
/// processors. Each has a log and a growing corpus in `target/fuzz/TARGET`, and its findings go there.
pub fn all(seconds: u64) -> Result<()> {
    let target = target_dir().join("fuzz-build");
    run(Command::new("cargo")
        .args(["build", "--quiet", "--release", "--locked", "--target", host()])
        .env("RUSTFLAGS", COVERAGE)
        .env("CARGO_TARGET_DIR", &target)
        .current_dir(workspace().join("fuzz")))?;
    let programs = target.join(host()).join("release");
    let names = names()?;
    // Some targets write files for every input, and none of them has a chance to tidy up after a finding.
    let scratch = PathBuf::from(format!("/dev/shm/edgelet-fuzz-{}", std::process::id()));
    fs::create_dir(&scratch).context("make a directory in memory")?;
    let (waiting, failed) = (Mutex::new(names.iter()), Mutex::new(Vec::new()));
    thread::scope(|scope| {
        for _ in 0..thread::available_parallelism().map_or(1, usize::from) {
            scope.spawn(|| {
                while let Some(name) = next(&waiting) {
                    if let Err(error) = one(&programs, name, &scratch, seconds) {
                        println!("fuzz: {name}: {error:#}");
                        failed.lock().expect("no thread panics").push(name.as_str());
                    }
                }
            });
        }
    });
    fs::remove_dir_all(&scratch).context("remove the directory in memory")?;
    match failed.into_inner().expect("no thread panics").as_slice() {
        [] => {
            println!("fuzz: {} targets, {seconds} s each, no finding", names.len());
            Ok(())
        }
        failed => bail!("fuzz: findings in {}", failed.join(", ")),
    }
}

fn names() -> Result<Vec<String>> {
    let mut names = Vec::new();
    for entry in fs::read_dir(workspace().join("fuzz/targets")).context("list fuzz targets")? {
        let path = entry?.path();
        names.extend(path.file_stem().map(|stem| stem.to_string_lossy().into_owned()));
    }
    names.sort();
    Ok(names)
}

/// The next of what all threads share, without holding on to the rest.
fn next<T>(waiting: &Mutex<impl Iterator<Item = T>>) -> Option<T> {
    waiting.lock().expect("no thread panics").next()
}

fn one(programs: &Path, name: &str, scratch: &Path, seconds: u64) -> Result<()> {
    let kept = target_dir().join("fuzz").join(name);
    let (inputs, log) = (kept.join("corpus"), kept.join("log"));
    fs::create_dir_all(&inputs)?;
    let mut program = Command::new(programs.join(name));
    let words = workspace().join("fuzz/words").join(name);
    if words.exists() {
        program.arg(format!("-dict={}", words.display()));
    }
    let status = program
        .arg(format!("-max_total_time={seconds}"))
        .args(["-timeout=10", "-rss_limit_mb=512", "-print_final_stats=1"])
        .arg(format!("-artifact_prefix={}/", kept.display()))
        .arg(&inputs)
        .arg(workspace().join("fuzz/corpus").join(name))
        .env("TMPDIR", scratch)
        .stderr(File::create(&log)?)
        .status()
        .with_context(|| format!("start {name}"))?;
    let said = String::from_utf8_lossy(&fs::read(&log)?).into_owned();
    if !status.success() {
        let finding =
            said.lines().skip_while(|line| !line.contains("panicked at") && !line.contains("ERROR"));
        bail!("{status}, see {}\n{}", log.display(), finding.take(20).collect::<Vec<_>>().join("\n"));
    }
    let runs = said.lines().find_map(|line| line.strip_prefix("stat::number_of_executed_units:"));
    println!("fuzz: {name}: {} inputs, no finding", runs.unwrap_or_default().trim());
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

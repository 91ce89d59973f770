//! The foreign programs under emulation: they start, and the crates that need no kernel's help pass their
//! unit tests.

use crate::dist::{self, Arch};
use crate::run::{output, run};
use anyhow::{Result, bail};
use std::process::Command;

/// Crates whose unit tests need nothing that an emulator lacks.
const PORTABLE: [&str; 3] = ["edgelet-types", "edgelet-store", "edgelet-image"];

/// Every architecture that is not this machine's.
pub fn check() -> Result<()> {
    for arch in dist::ALL {
        if let Some(emulator) = arch.emulator {
            starts(arch, emulator)?;
            unit_tests(arch, emulator)?;
        }
    }
    Ok(())
}

fn starts(arch: &Arch, emulator: &str) -> Result<()> {
    let program = dist::dir(arch).join("edgelet");
    // Exit code 0 also without a daemon: the command line tells its own version.
    let told = output(Command::new(emulator).arg(&program).args(["-o", "json", "version"]))?;
    let version: serde_json::Value = serde_json::from_str(&told)?;
    if version["cli"]["version"] != env!("CARGO_PKG_VERSION") {
        bail!("{}: edgelet version says {told}", arch.name);
    }
    let runtime = output(Command::new(emulator).args(["-0", "edgelet-oci"]).arg(&program).arg("--version"))?;
    println!("arch: {:8} starts: {}", arch.name, first_line(&runtime));
    Ok(())
}

fn unit_tests(arch: &Arch, emulator: &str) -> Result<()> {
    let mut command = dist::cargo_for(arch, &["test", "--quiet", "--locked", "--lib"]);
    for package in PORTABLE {
        command.args(["-p", package]);
    }
    let told = output(Command::new(emulator).arg("--version"))?;
    if !knows_openat2(&told) {
        println!("arch: {:8} SKIPPED image usage::tests: no openat2(2) in {}", arch.name, first_line(&told));
        command.args(["--", "--skip", "usage::tests::"]);
    }
    run(&mut command)?;
    // Pure, and different on each: numbers of system calls.
    run(&mut dist::cargo_for(
        arch,
        &["test", "--quiet", "--locked", "--lib", "-p", "edgelet-oci", "seccomp::"],
    ))
}

/// Whether an emulator that calls itself so has openat2(2), which came with 9.2.
fn knows_openat2(told: &str) -> bool {
    let number = |part: Option<&str>| part.and_then(|digits| digits.parse::<u32>().ok());
    let version = told.split_once(" version ").map(|(_, rest)| rest).unwrap_or_default();
    let mut parts = version.split(|c: char| !c.is_ascii_digit());
    (number(parts.next()), number(parts.next())) >= (Some(9), Some(2))
}

fn first_line(text: &str) -> &str {
    text.lines().next().unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn old_emulators_and_unknown_ones_lack_openat2() {
        let old = "qemu-arm version 7.2.22 (Debian 1:7.2+dfsg-7+deb12u18)";
        let new = "qemu-arm version 10.0.2 (Debian 1:10.0.2+ds-2)";
        assert!(!knows_openat2(old) && !knows_openat2("") && !knows_openat2("qemu-arm version 9.1.3"));
        assert!(knows_openat2(new) && knows_openat2("qemu-arm version 9.2.0"));
    }
}

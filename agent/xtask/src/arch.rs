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
            unit_tests(arch)?;
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
    println!("arch: {:8} starts: {}", arch.name, runtime.lines().next().unwrap_or_default());
    Ok(())
}

fn unit_tests(arch: &Arch) -> Result<()> {
    let mut command = dist::cargo_for(arch, &["test", "--quiet", "--locked", "--lib"]);
    for package in PORTABLE {
        command.args(["-p", package]);
    }
    // Needs openat2(2), which qemu-user 7.2 does not know.
    run(command.args(["--", "--skip", "usage::tests::"]))
}

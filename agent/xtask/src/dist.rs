//! Release builds for the four architectures, all static.
//!
//! musl where the standard library for it can be had; for armv7 and riscv64 static glibc, whose host name
//! look-ups need the C library's own modules on the device (the layer's build is not concerned: it links
//! against the image's C library).

use crate::run::{cargo, output, run, target_dir, workspace};
use anyhow::{Context, Result, bail};
use std::fs;
use std::path::PathBuf;
use std::process::Command;

/// One architecture that we ship.
pub struct Arch {
    /// What people call it.
    pub name: &'static str,
    target: &'static str,
    /// Compiler for the C parts (ring, zstd) and, for all but the first, the linker.
    cc: &'static str,
    /// More for the C compiler: without glibc there is no fortified `memcpy`, and no outlined atomics.
    cflags: &'static str,
    /// The emulator that starts its programs here; none for the host's own.
    pub emulator: Option<&'static str>,
}

/// All of them.
pub const ALL: &[Arch] = &[
    Arch { name: "x86_64", target: "x86_64-unknown-linux-musl", cc: "musl-gcc", cflags: "", emulator: None },
    Arch {
        name: "aarch64",
        target: "aarch64-unknown-linux-musl",
        cc: "aarch64-linux-gnu-gcc",
        cflags: "-U_FORTIFY_SOURCE -mno-outline-atomics",
        emulator: Some("qemu-aarch64-static"),
    },
    Arch {
        name: "armv7",
        target: "armv7-unknown-linux-gnueabihf",
        cc: "arm-linux-gnueabihf-gcc",
        cflags: "",
        emulator: Some("qemu-arm-static"),
    },
    Arch {
        name: "riscv64",
        target: "riscv64gc-unknown-linux-gnu",
        cc: "riscv64-linux-gnu-gcc",
        cflags: "",
        emulator: Some("qemu-riscv64-static"),
    },
];

/// Static, at a fixed address, without tables for unwinding that `panic = "abort"` never uses: the reasons
/// and what they save are in docs/decisions/0005.
const RUSTFLAGS: &str = "-C target-feature=+crt-static -C relocation-model=static -C force-unwind-tables=no \
    -C link-arg=-Wl,--no-eh-frame-hdr";

/// Builds for the named architectures, or for all, and prints the sizes.
pub fn build(names: &[String]) -> Result<()> {
    let chosen = match names {
        [] => ALL.iter().collect(),
        names => names.iter().map(|name| find(name)).collect::<Result<Vec<_>>>()?,
    };
    for arch in chosen {
        build_one(arch)?;
    }
    Ok(())
}

/// Where the programs of an architecture are put.
pub fn dir(arch: &Arch) -> PathBuf {
    target_dir().join("dist").join(arch.name)
}

/// A `cargo` command set up to build tests for `arch`: static, and able to unwind, as a failing test must.
pub fn cargo_for(arch: &Arch, arguments: &[&str]) -> Command {
    cargo_with(arch, arguments, "-C target-feature=+crt-static")
}

fn cargo_with(arch: &Arch, arguments: &[&str], rustflags: &str) -> Command {
    let mut command = cargo(arguments);
    let upper = arch.target.to_uppercase().replace('-', "_");
    let lower = arch.target.replace('-', "_");
    command
        .args(["--target", arch.target])
        .env(format!("CC_{lower}"), arch.cc)
        .env(format!("CFLAGS_{lower}"), arch.cflags)
        .env(format!("CARGO_TARGET_{upper}_RUSTFLAGS"), rustflags);
    if arch.emulator.is_some() {
        command.env(format!("CARGO_TARGET_{upper}_LINKER"), arch.cc);
    }
    if let Some(emulator) = arch.emulator {
        command.env(format!("CARGO_TARGET_{upper}_RUNNER"), emulator);
    }
    command
}

fn find(name: &str) -> Result<&'static Arch> {
    let known = || ALL.iter().map(|arch| arch.name).collect::<Vec<_>>().join(", ");
    ALL.iter()
        .find(|arch| arch.name == name)
        .with_context(|| format!("no architecture {name:?}; there are {}", known()))
}

fn build_one(arch: &Arch) -> Result<()> {
    let script = workspace().join("xtask/no-unwind.ld");
    let rustflags = format!("{RUSTFLAGS} -C link-arg=-Wl,-T,{}", script.display());
    let arguments = ["build", "--release", "--locked", "-p", "edgelet", "-p", "hello"];
    let mut build = cargo_with(arch, &arguments, &rustflags);
    for (variable, format) in [("EDGELET_BUILD_TIME", "%cI"), ("EDGELET_GIT_COMMIT", "%H")] {
        let format = format!("--format={format}");
        // Without a checkout the program says that it does not know.
        if let Ok(value) = output(Command::new("git").args(["log", "-1", &format]).current_dir(workspace())) {
            build.env(variable, value.trim());
        }
    }
    run(&mut build)?;
    let built = target_dir().join(arch.target).join("release");
    let dir = dir(arch);
    fs::create_dir_all(&dir).with_context(|| format!("create {}", dir.display()))?;
    for program in ["edgelet", "hello"] {
        // A new file instead of a changed one: the old may be running.
        let _ = fs::remove_file(dir.join(program));
        fs::copy(built.join(program), dir.join(program)).with_context(|| format!("copy {program}"))?;
    }
    let link = dir.join("edgelet-oci");
    if link.symlink_metadata().is_err() {
        std::os::unix::fs::symlink("edgelet", &link).context("link edgelet-oci")?;
    }
    let size = fs::metadata(dir.join("edgelet"))?.len();
    if size == 0 {
        bail!("{}: empty program", arch.name);
    }
    println!("dist: {:8} {:>9} bytes  {}", arch.name, size, dir.join("edgelet").display());
    Ok(())
}

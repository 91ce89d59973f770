//! Release builds for the four architectures, all static.
//!
//! musl where the standard library for it can be had; for armv7 and riscv64 static glibc, whose host name
//! look-ups need the C library's own modules on the device (the layer's build is not concerned: it links
//! against the image's C library).
//!
//! The same sources give the same bytes, wherever they are built: see `reproducible`.

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

/// What tests and releases have in common.
const STATIC: &str = "-Ctarget-feature=+crt-static";

/// At a fixed address, without tables for unwinding that `panic = "abort"` never uses: the reasons and what
/// they save are in docs/decisions/0005. Cargo links in the root of the workspace, so the script's path
/// need not say where that is.
const RELEASE: &[&str] = &[
    STATIC,
    "-Crelocation-model=static",
    "-Cforce-unwind-tables=no",
    "-Clink-arg=-Wl,--no-eh-frame-hdr",
    "-Clink-arg=-Wl,-T,xtask/no-unwind.ld",
];

/// The programs of a release.
pub const PROGRAMS: &[&str] = &["edgelet", "hello"];

/// Where a build takes place. Nothing of it may be found in what is built.
pub struct Place {
    /// The cargo workspace.
    pub workspace: PathBuf,
    /// Where cargo builds.
    pub target: PathBuf,
    /// Where cargo keeps sources of crates.
    pub cargo_home: PathBuf,
}

impl Place {
    /// This one.
    pub fn own() -> Result<Self> {
        let of_user = || Some(PathBuf::from(std::env::var_os("HOME")?).join(".cargo"));
        let cargo_home = std::env::var_os("CARGO_HOME").map(PathBuf::from).or_else(of_user);
        let cargo_home = cargo_home.context("neither CARGO_HOME nor HOME is set")?;
        Ok(Self { workspace: workspace(), target: target_dir(), cargo_home })
    }

    /// Where cargo puts the programs of an architecture.
    pub fn built(&self, arch: &Arch) -> PathBuf {
        self.target.join(arch.target).join("release")
    }
}

/// The version that a build is of; what is not known is left out, and the program says so.
pub struct Stamp(Vec<(&'static str, String)>);

impl Stamp {
    /// From the environment, or from git where this is a checkout.
    pub fn find() -> Self {
        let variables = [("EDGELET_BUILD_TIME", "%cI"), ("EDGELET_GIT_COMMIT", "%H")];
        let known = |(variable, format): (&'static str, &str)| {
            let of_git = || {
                let format = format!("--format={format}");
                let mut git = Command::new("git");
                output(git.args(["log", "-1", &format]).current_dir(workspace())).ok()
            };
            let value = std::env::var(variable).ok().or_else(of_git)?;
            Some((variable, value.trim().to_owned()))
        };
        Self(variables.into_iter().filter_map(known).collect())
    }
}

/// Builds for the named architectures, or for all, and prints the sizes.
pub fn build(names: &[String]) -> Result<()> {
    build_as(&choose(names)?, &Stamp::find())
}

/// Builds what calls itself `stamp`.
pub fn build_as(architectures: &[&Arch], stamp: &Stamp) -> Result<()> {
    let place = Place::own()?;
    for arch in architectures {
        compile(arch, &place, stamp)?;
        publish(arch, &place)?;
    }
    Ok(())
}

/// The named architectures, or all.
pub fn choose(names: &[String]) -> Result<Vec<&'static Arch>> {
    match names {
        [] => Ok(ALL.iter().collect()),
        names => names.iter().map(|name| find(name)).collect(),
    }
}

/// Where the programs of an architecture are put.
pub fn dir(arch: &Arch) -> PathBuf {
    target_dir().join("dist").join(arch.name)
}

/// A `cargo` command set up to build tests for `arch`: static, and able to unwind, as a failing test must.
pub fn cargo_for(arch: &Arch, arguments: &[&str]) -> Command {
    cargo_with(arch, arguments, &[STATIC.to_owned()])
}

fn cargo_with(arch: &Arch, arguments: &[&str], rustflags: &[String]) -> Command {
    let mut command = cargo(arguments);
    let upper = arch.target.to_uppercase().replace('-', "_");
    let lower = arch.target.replace('-', "_");
    command
        .args(["--target", arch.target])
        .env(format!("CC_{lower}"), arch.cc)
        .env(format!("CFLAGS_{lower}"), arch.cflags)
        // Of all ways to say it the strongest, and the one that allows for spaces in paths.
        .env("CARGO_ENCODED_RUSTFLAGS", rustflags.join("\x1f"));
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

/// Builds the programs at a place.
pub fn compile(arch: &Arch, place: &Place, stamp: &Stamp) -> Result<()> {
    // First: only then all folders with sources of crates are there to be named.
    run(cargo(&["fetch", "--locked", "--target", arch.target])
        .current_dir(&place.workspace)
        .env("CARGO_HOME", &place.cargo_home))?;
    let mut rustflags: Vec<String> = RELEASE.iter().map(|&flag| flag.to_owned()).collect();
    for (from, to) in renamed(place)? {
        rustflags.push(format!("--remap-path-prefix={}={to}", from.display()));
    }
    let mut build = cargo_with(arch, &["build", "--release", "--locked"], &rustflags);
    for program in PROGRAMS {
        build.args(["-p", program]);
    }
    build
        .current_dir(&place.workspace)
        .env("CARGO_HOME", &place.cargo_home)
        .env("CARGO_TARGET_DIR", &place.target)
        .envs(stamp.0.iter().map(|(variable, value)| (variable, value)));
    run(&mut build)
}

/// What sources are called in messages of a panic, wherever they lie. The last that fits counts.
fn renamed(place: &Place) -> Result<Vec<(PathBuf, &'static str)>> {
    let mut names = vec![(place.workspace.clone(), "/edgelet"), (place.target.clone(), "/target")];
    let sources = place.cargo_home.join("registry/src");
    // A vendored build has none: its crates lie in the workspace.
    let entries = fs::read_dir(&sources).into_iter().flatten();
    for entry in entries {
        names.push((entry.with_context(|| format!("list {}", sources.display()))?.path(), "/crates"));
    }
    Ok(names)
}

/// Puts the programs where people find them.
fn publish(arch: &Arch, place: &Place) -> Result<()> {
    let built = place.built(arch);
    let dir = dir(arch);
    fs::create_dir_all(&dir).with_context(|| format!("create {}", dir.display()))?;
    for program in PROGRAMS {
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

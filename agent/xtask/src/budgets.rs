//! Measures what the program costs and holds it against `budgets.toml`.

use crate::dist;
use crate::run::{output, run, workspace};
use crate::sample;
use anyhow::{Context, Result, anyhow, bail};
use serde::Deserialize;
use std::collections::BTreeMap;
use std::fs;
use std::io::{Read, Write};
use std::net::TcpStream;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Budgets {
    binary: BTreeMap<String, u64>,
    memory: BTreeMap<String, u64>,
}

/// Prints every figure with its budget; fails when one is exceeded or could not be measured.
pub fn check() -> Result<()> {
    let text = fs::read_to_string(workspace().join("budgets.toml")).context("read budgets.toml")?;
    let budgets: Budgets = toml::from_str(&text).context("parse budgets.toml")?;
    let mut exceeded = 0;
    for arch in dist::ALL {
        let program = dist::dir(arch).join("edgelet");
        // An architecture that was not built is not measured; CI builds all of them.
        let Ok(metadata) = fs::metadata(&program) else {
            println!("budget: binary {:8} not built", arch.name);
            continue;
        };
        exceeded +=
            line(&format!("binary {}", arch.name), metadata.len(), &budgets.binary, arch.name, "bytes")?;
    }
    let memory = memory_of_a_node()?;
    for (name, kib) in memory {
        exceeded += line(name, kib, &budgets.memory, name, "KiB")?;
    }
    match exceeded {
        0 => Ok(()),
        count => bail!("{count} budgets exceeded"),
    }
}

fn line(what: &str, value: u64, budgets: &BTreeMap<String, u64>, key: &str, unit: &str) -> Result<usize> {
    let budget = *budgets.get(key).with_context(|| format!("budgets.toml has no {key}"))?;
    let verdict = if value <= budget { "within" } else { "EXCEEDS" };
    println!("budget: {what:24} {value:>9} {unit}, {verdict} {budget}");
    Ok(usize::from(value > budget))
}

/// Starts a real node with one workload and reads what the kernel says of its processes.
fn memory_of_a_node() -> Result<[(&'static str, u64); 4]> {
    let root = std::env::temp_dir().join(format!("edgelet-budgets-{}", std::process::id()));
    let node = Node::start(&root)?;
    let layout = root.join("image");
    sample::write(&layout, None)?;
    node.edgelet(&["image", "load", "-f", &layout.to_string_lossy()])?;
    let manifest = workspace().join("../docs/examples/hello.yaml");
    node.edgelet(&["deploy", "-f", &manifest.to_string_lossy()])?;
    let shim = node.wait_for_shim()?;
    // Long enough for the workers of the deployment to fall asleep, and for the shim to rest after the first
    // output of the workload (10 s); nothing else depends on it.
    std::thread::sleep(Duration::from_secs(15));
    let (daemon, quiet) = (pss_kib(node.daemon.id())?, pss_kib(shim)?);
    let zygote = pss_kib(parent(shim)?)?;
    node.make_it_talk()?;
    let talking = pss_kib(shim)?;
    Ok([
        ("daemon_idle_pss_kib", daemon),
        ("zygote_pss_kib", zygote),
        ("shim_quiet_pss_kib", quiet),
        ("shim_pss_kib", talking),
    ])
}

struct Node {
    program: PathBuf,
    root: PathBuf,
    daemon: Child,
}

impl Node {
    fn start(root: &Path) -> Result<Self> {
        let program = dist::dir(&dist::ALL[0]).join("edgelet");
        if !program.exists() {
            bail!("no release program: run `cargo xtask dist x86_64` first");
        }
        fs::create_dir_all(root).with_context(|| format!("create {}", root.display()))?;
        let daemon = Command::new(&program)
            .arg("daemon")
            .env("EDGELET_PREFIX", root)
            .stdin(Stdio::null())
            .spawn()
            .context("start the daemon")?;
        let node = Self { program, root: root.to_owned(), daemon };
        node.wait(|| node.edgelet(&["system", "status"]).is_ok(), "the daemon to answer")?;
        Ok(node)
    }

    fn edgelet(&self, arguments: &[&str]) -> Result<String> {
        output(Command::new(&self.program).args(arguments).env("EDGELET_PREFIX", &self.root))
    }

    fn wait_for_shim(&self) -> Result<u32> {
        let containers = self.root.join("run/edgelet/containers");
        let find = || -> Option<u32> {
            let bundle = fs::read_dir(&containers).ok()?.flatten().next()?.path();
            bundle.join("init.pid").exists().then_some(())?;
            fs::read_to_string(bundle.join("shim.pid")).ok()?.split(' ').next()?.parse().ok()
        };
        self.wait(|| find().is_some(), "the workload to run")?;
        find().ok_or_else(|| anyhow!("the shim went away"))
    }

    /// Has the workload write twenty lines, one after the other, and waits until the last is in the log.
    fn make_it_talk(&self) -> Result<()> {
        for _ in 0..20 {
            let mut connection = TcpStream::connect("127.0.0.1:8080").context("connect to the workload")?;
            connection.write_all(b"GET /talk HTTP/1.0\r\n\r\n")?;
            connection.read_to_end(&mut Vec::new()).context("fetch the workload's page")?;
        }
        let lines = || Some(self.edgelet(&["ms", "logs", "edgelet.hello"]).ok()?.matches("/talk").count());
        self.wait(|| lines() == Some(20), "what the workload said")
    }

    fn wait(&self, ready: impl Fn() -> bool, what: &str) -> Result<()> {
        let deadline = Instant::now() + Duration::from_secs(60);
        while !ready() {
            if Instant::now() > deadline {
                bail!("waited 60 s for {what}");
            }
            std::thread::sleep(Duration::from_millis(100));
        }
        Ok(())
    }
}

impl Drop for Node {
    /// Takes the node down with everything that it started.
    fn drop(&mut self) {
        let remove = run(Command::new(&self.program)
            .args(["ms", "rm", "edgelet.hello"])
            .env("EDGELET_PREFIX", &self.root));
        if let Err(error) = remove {
            eprintln!("budgets: {error:#}");
        }
        let _ = self.wait(
            || fs::read_dir(self.root.join("run/edgelet/containers")).is_ok_and(|d| d.count() == 0),
            "removal",
        );
        let _ = Command::new("kill").arg(self.daemon.id().to_string()).status();
        let _ = self.daemon.wait();
        if let Err(error) = fs::remove_dir_all(&self.root) {
            eprintln!("budgets: remove {}: {error}", self.root.display());
        }
    }
}

/// What a process was started by (proc(5), status).
fn parent(pid: u32) -> Result<u32> {
    status_number(&format!("/proc/{pid}/status"), "PPid:", "")
}

/// The memory of a process, with what it shares counted in proportion.
fn pss_kib<N: std::str::FromStr>(pid: u32) -> Result<N> {
    status_number(&format!("/proc/{pid}/smaps_rollup"), "Pss:", "kB")
}

fn status_number<N: std::str::FromStr>(path: &str, name: &str, unit: &str) -> Result<N> {
    let text = fs::read_to_string(path).with_context(|| format!("read {path}"))?;
    text.lines()
        .find_map(|line| line.strip_prefix(name))
        .and_then(|rest| rest.trim().strip_suffix(unit)?.trim().parse().ok())
        .with_context(|| format!("{path}: no {name} line"))
}

//! A real node in a temporary root: the program under test as its daemon and as its command line.

#![allow(dead_code, reason = "each test file uses its part")]

use edgelet_testkit::layout::{Codec, Image, OciLayout, Tar};
use serde_json::Value;
use std::fs::{self, File};
use std::io::{Read, Write};
use std::net::{Ipv4Addr, TcpListener, TcpStream};
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};
use std::sync::OnceLock;
use std::time::{Duration, Instant};

const PROGRAM: &str = env!("CARGO_BIN_EXE_edgelet");
/// Longer than anything here takes on a slow machine; only a failing test waits this long.
pub const PATIENCE: Duration = Duration::from_secs(90);

/// A node. Dropping it takes it down with everything that it started.
pub struct Node {
    pub root: tempfile::TempDir,
    daemon: Option<Child>,
    /// What the daemon finds in its environment besides our own.
    pub environment: Vec<(&'static str, String)>,
    /// Run the daemon with another boot id, as after a reboot.
    boot: Option<String>,
}

impl Node {
    /// A node with an empty root; its daemon is not running yet.
    pub fn new() -> Self {
        Self {
            root: tempfile::Builder::new().prefix("edgelet-test").tempdir().unwrap(),
            daemon: None,
            environment: Vec::new(),
            boot: None,
        }
    }

    /// A running node that has the sample image.
    pub fn with_sample_image() -> Self {
        let mut node = Self::new();
        node.start();
        node.ok(&["image", "load", "-f", sample_image().to_str().unwrap()]);
        node
    }

    pub fn path(&self, below: &str) -> PathBuf {
        self.root.path().join(below)
    }

    /// Starts the daemon and waits until it answers.
    pub fn start(&mut self) {
        self.spawn();
        wait_until("the daemon answers", || self.edgelet(&["system", "status"]).status.success());
    }

    /// Starts the daemon and does not wait.
    pub fn spawn(&mut self) {
        assert!(self.daemon.is_none(), "one daemon at a time");
        let log = File::options().create(true).append(true).open(self.path("daemon.log")).unwrap();
        let mut command = match &self.boot {
            None => Command::new(PROGRAM),
            Some(boot) => {
                let fake = self.path("boot_id");
                File::create(&fake).unwrap().write_all(boot.as_bytes()).unwrap();
                let mut unshare = Command::new("unshare");
                let script = "mount --bind \"$0\" /proc/sys/kernel/random/boot_id && exec \"$@\"";
                // Slave, not private: mounts that the daemon makes are seen by nobody else, but a look at
                // the host's shows what leaked before.
                unshare
                    .args(["--mount", "--propagation", "unchanged", "sh", "-c", script])
                    .arg(fake)
                    .arg(PROGRAM);
                unshare
            }
        };
        // A trace takes so long to write that it hides races at the end.
        command.arg("daemon").env("EDGELET_PREFIX", self.root.path()).env_remove("RUST_BACKTRACE");
        command.envs(self.environment.iter().map(|(key, value)| (key, value)));
        self.daemon = Some(command.stdin(Stdio::null()).stderr(log).spawn().unwrap());
    }

    /// kill -9.
    pub fn kill_daemon(&mut self) {
        let mut daemon = self.daemon.take().expect("a running daemon");
        daemon.kill().unwrap();
        daemon.wait().unwrap();
    }

    /// SIGTERM, as a service manager does.
    pub fn stop_daemon(&mut self) {
        let mut daemon = self.daemon.take().expect("a running daemon");
        assert!(Command::new("kill").arg(daemon.id().to_string()).status().unwrap().success());
        let (status, log) = (daemon.wait().unwrap(), self.daemon_log());
        assert!(status.success() && !log.contains("panicked"), "{status}: {log}");
    }

    pub fn daemon_pid(&self) -> u32 {
        self.daemon.as_ref().expect("a running daemon").id()
    }

    /// What a power cut and a boot do: every process of the node is gone, `/run` is empty, and the kernel
    /// has another boot id. The daemon is not running afterwards.
    pub fn cut_power(&mut self) {
        if self.daemon.is_some() {
            self.kill_daemon();
        }
        self.kill_containers();
        self.unmount_all();
        self.remove_groups();
        match fs::remove_dir_all(self.path("run")) {
            // The daemon had not come so far.
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => {}
            removed => removed.unwrap(),
        }
        let number = self.boot.as_ref().map_or(0, |boot| boot.len());
        self.boot = Some(format!("boot-{}\n", "x".repeat(number + 1)));
    }

    /// The command line; its output.
    pub fn edgelet(&self, arguments: &[&str]) -> Output {
        Command::new(PROGRAM)
            .args(arguments)
            .env("EDGELET_PREFIX", self.root.path())
            .stdin(Stdio::null())
            .output()
            .unwrap()
    }

    /// The command line must succeed; what it printed.
    #[track_caller]
    pub fn ok(&self, arguments: &[&str]) -> String {
        let output = self.edgelet(arguments);
        assert!(
            output.status.success(),
            "edgelet {arguments:?}: {}\n{}\ndaemon log:\n{}",
            output.status,
            String::from_utf8_lossy(&output.stderr),
            self.daemon_log()
        );
        String::from_utf8(output.stdout).unwrap()
    }

    /// The command line must fail; its exit code and what it said.
    #[track_caller]
    pub fn fails(&self, arguments: &[&str]) -> (i32, String) {
        let output = self.edgelet(arguments);
        assert!(!output.status.success(), "edgelet {arguments:?} succeeded");
        (output.status.code().unwrap(), String::from_utf8(output.stderr).unwrap())
    }

    /// The command line with `-o json`.
    #[track_caller]
    pub fn json(&self, arguments: &[&str]) -> Value {
        serde_json::from_str(&self.ok(&[&["-o", "json"], arguments].concat())).unwrap()
    }

    /// Deploys the sample workload on a free port and waits until it serves. The port.
    pub fn deploy_hello(&self) -> u16 {
        let port = free_port();
        self.deploy(&hello_manifest(port));
        wait_until("the sample serves", || get(port).is_some());
        port
    }

    #[track_caller]
    pub fn deploy(&self, manifest: &str) -> String {
        let file = self.path("manifest.yaml");
        File::create(&file).unwrap().write_all(manifest.as_bytes()).unwrap();
        self.ok(&["deploy", "-f", file.to_str().unwrap()])
    }

    /// Runs a container with a shell, time for us, and a file of user 1000 and group 1001 at `/etc/theirs`; `more` goes
    /// into its manifest.
    pub fn deploy_box(&self, name: &str, more: &str) {
        self.load_box();
        self.deploy(&box_manifest(name, more));
        self.wait_for_state(&format!("edgelet.{name}"), "RUNNING");
    }

    /// Loads the image of these.
    pub fn load_box(&self) {
        let busybox = fs::read("/bin/busybox").unwrap();
        let tar = Tar::new()
            .dir("bin/", 0o755)
            .program("bin/busybox", &busybox)
            .symlink("bin/sh", "busybox")
            .dir("etc/", 0o755)
            .file_of("etc/theirs", 1000, 1001);
        let image = Image::new().layer(tar.done(), Codec::Gzip);
        let layout = OciLayout::new().add(&image, "docker.io/library/box:1");
        self.ok(&["image", "load", "-f", layout.path().to_str().unwrap()]);
    }

    /// The workload as `ms inspect` shows it; `Null` when there is none.
    pub fn inspect(&self, name: &str) -> Value {
        let output = self.edgelet(&["-o", "json", "ms", "inspect", name]);
        serde_json::from_slice(&output.stdout).unwrap_or(Value::Null)
    }

    #[track_caller]
    pub fn wait_for_state(&self, name: &str, state: &str) {
        wait_until(&format!("{name} is {state}; {}", self.daemon_log()), || {
            self.inspect(name)["state"] == state
        });
    }

    pub fn log_lines(&self, name: &str) -> Vec<String> {
        self.ok(&["ms", "logs", "--tail", "100000", name]).lines().map(str::to_owned).collect()
    }

    pub fn daemon_log(&self) -> String {
        fs::read_to_string(self.path("daemon.log")).unwrap_or_default()
    }

    /// Every shim and container process of this node, found by their bundles.
    pub fn shims(&self) -> Vec<i32> {
        let bundles = self.path("run/edgelet/containers");
        let entries = fs::read_dir(bundles).into_iter().flatten().flatten();
        let pid =
            |path: PathBuf| fs::read_to_string(path.join("shim.pid")).ok()?.split(' ').next()?.parse().ok();
        let alive = |pid: &i32| {
            fs::read_to_string(format!("/proc/{pid}/cmdline")).is_ok_and(|line| line.contains("edgelet-shim"))
        };
        entries.filter_map(|entry| pid(entry.path())).filter(alive).collect()
    }

    pub fn init_pids(&self) -> Vec<i32> {
        let bundles = self.path("run/edgelet/containers");
        let entries = fs::read_dir(bundles).into_iter().flatten().flatten();
        entries
            .filter_map(|entry| fs::read_to_string(entry.path().join("init.pid")).ok()?.parse().ok())
            .collect()
    }

    /// Mounts below this node's root.
    pub fn mounts(&self) -> Vec<String> {
        let root = self.root.path().to_str().unwrap();
        let text = fs::read_to_string("/proc/self/mounts").unwrap();
        text.lines()
            .filter_map(|line| line.split(' ').nth(1))
            .filter(|path| path.starts_with(root))
            .map(Into::into)
            .collect()
    }

    /// Takes `/run/edgelet` away under a node whose daemon does not run, as a service manager may that was not
    /// told to keep it. Containers live on.
    pub fn lose_run(&self) {
        self.unmount_all();
        fs::remove_dir_all(self.path("run")).unwrap();
    }

    /// Kills whatever runs for this node: shims and their forks by their command lines, containers by their
    /// cgroups. A shim may just be starting one, so it is done until nobody is left.
    fn kill_containers(&self) {
        let bundles = self.path("run/edgelet/containers");
        let containers: Vec<String> = fs::read_dir(&bundles)
            .into_iter()
            .flatten()
            .flatten()
            .map(|entry| format!("/edgelet/{}", entry.file_name().to_string_lossy()))
            .collect();
        let root = self.root.path().to_str().unwrap();
        let is_ours = |pid: &str| {
            let read = |name: &str| fs::read_to_string(format!("/proc/{pid}/{name}")).unwrap_or_default();
            let cgroups = read("cgroup");
            let ended = read("stat").contains(") Z ");
            !ended && (read("cmdline").contains(root) || containers.iter().any(|path| cgroups.contains(path)))
        };
        self.resume_containers();
        wait_until("containers are gone", || {
            let ours: Vec<String> = processes().filter(|pid| is_ours(pid)).collect();
            for pid in &ours {
                let _ = Command::new("kill").args(["-9", pid]).stderr(Stdio::null()).status();
            }
            ours.is_empty()
        });
    }

    /// What is suspended does not die of a kill.
    fn resume_containers(&self) {
        self.for_each_container(&["resume"]);
    }

    /// What a reboot takes away by itself.
    fn remove_groups(&self) {
        self.for_each_container(&["delete", "--force"]);
    }

    /// A verb of the runtime that may fail: most containers are not in the state for it.
    fn for_each_container(&self, verb: &[&str]) {
        for bundle in fs::read_dir(self.path("run/edgelet/containers")).into_iter().flatten().flatten() {
            let mut runtime = Command::new(PROGRAM);
            runtime.arg0("edgelet-oci").arg("--root").arg(self.path("run/edgelet/oci"));
            let _ = runtime.args(verb).arg(bundle.file_name()).stderr(Stdio::null()).status();
        }
    }

    fn unmount_all(&self) {
        for path in self.mounts().iter().rev() {
            let _ = Command::new("umount").args(["--lazy", path]).status();
        }
    }
}

impl Drop for Node {
    fn drop(&mut self) {
        if std::thread::panicking() {
            eprintln!("daemon log:\n{}", self.daemon_log());
        }
        if let Some(mut daemon) = self.daemon.take() {
            let _ = daemon.kill();
            let _ = daemon.wait();
        }
        self.kill_containers();
        self.remove_groups();
        self.unmount_all();
    }
}

/// The manifest of the sample workload on a port of its own.
pub fn hello_manifest(port: u16) -> String {
    format!(
        "apiVersion: edgelet.iofog.org/v1\nkind: Microservice\nmetadata: {{ name: hello }}\nspec:\n  image: edgelet/hello:1\n  \
         container:\n    hostNetworkMode: true\n    env: [ {{ key: PORT, value: \"{port}\" }} ]\n"
    )
}

/// What the shell of a box does.
pub const SLEEP: &str = "trap 'exit 0' TERM; /bin/busybox sleep 1000 & wait";

/// The manifest of a box.
pub fn box_manifest(name: &str, more: &str) -> String {
    format!(
        "apiVersion: edgelet.iofog.org/v1\nkind: Microservice\nmetadata: {{ name: {name} }}\nspec:\n  image: box:1\n  \
         container:\n    entrypoint: [/bin/sh, -c, \"{SLEEP}\"]\n{more}"
    )
}

/// The sample workload's image layout, built once per test run from our own sources.
pub fn sample_image() -> &'static Path {
    static IMAGE: OnceLock<PathBuf> = OnceLock::new();
    IMAGE.get_or_init(|| {
        let tmp = Path::new(env!("CARGO_TARGET_TMPDIR"));
        let target_dir = tmp.parent().unwrap();
        let cargo = |arguments: &[&str]| {
            let mut command = Command::new(env!("CARGO"));
            command
                .args(arguments)
                .current_dir(env!("CARGO_MANIFEST_DIR"))
                .env("CARGO_TARGET_DIR", target_dir);
            assert!(command.status().unwrap().success(), "cargo {arguments:?}");
        };
        let triple = format!("{}-unknown-linux-musl", std::env::consts::ARCH);
        cargo(&["build", "--quiet", "--locked", "-p", "hello", "--target", &triple]);
        let program = target_dir.join(triple).join("debug/hello");
        // Other test programs may be doing the same at this moment: whoever is first wins.
        let bytes = fs::read(&program).unwrap();
        let dir = tmp.join(format!("hello-image-{}", edgelet_types::Digest::of(&bytes).short()));
        if !dir.exists() {
            let draft = dir.with_extension(std::process::id().to_string());
            cargo(&["xtask", "sample-image", draft.to_str().unwrap(), program.to_str().unwrap()]);
            if fs::rename(&draft, &dir).is_err() {
                fs::remove_dir_all(&draft).unwrap();
            }
        }
        dir
    })
}

fn processes() -> impl Iterator<Item = String> {
    let entries = fs::read_dir("/proc").unwrap().flatten();
    let own = std::process::id().to_string();
    entries
        .filter_map(|entry| entry.file_name().into_string().ok())
        .filter(move |name| name.bytes().all(|byte| byte.is_ascii_digit()) && *name != own)
}

pub fn free_port() -> u16 {
    TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap().local_addr().unwrap().port()
}

/// Fetches the sample's page; `None` when it does not answer as it should.
pub fn get(port: u16) -> Option<String> {
    let mut stream = TcpStream::connect((Ipv4Addr::LOCALHOST, port)).ok()?;
    stream.set_read_timeout(Some(Duration::from_secs(10))).ok()?;
    stream.write_all(b"GET / HTTP/1.1\r\nhost: x\r\n\r\n").ok()?;
    let mut answer = String::new();
    stream.read_to_string(&mut answer).ok()?;
    (answer.starts_with("HTTP/1.1 200") && answer.ends_with("</p>\n")).then_some(answer)
}

#[track_caller]
pub fn wait_until(what: &str, mut is_so: impl FnMut() -> bool) {
    let deadline = Instant::now() + PATIENCE;
    while !is_so() {
        assert!(Instant::now() < deadline, "waited {} s until {what}", PATIENCE.as_secs());
        std::thread::sleep(Duration::from_millis(25));
    }
}

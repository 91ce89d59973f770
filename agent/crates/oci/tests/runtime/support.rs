//! Bundles, and running the runtime on them.

use crate::apart;
use serde_json::{Value, json};
use std::fs::{self, File};
use std::os::fd::AsFd;
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::{Duration, Instant};

/// A bundle with its own state root; whatever is left of its container goes away with it.
pub(crate) struct Bundle {
    dir: tempfile::TempDir,
    /// Unique on the machine.
    pub(crate) id: String,
    config: Value,
    /// Who runs the runtime, if not root.
    user: Option<u32>,
}

/// A command that has ended.
#[derive(Debug)]
pub(crate) struct Finished {
    pub(crate) code: i32,
    pub(crate) out: String,
    pub(crate) err: String,
}

impl Finished {
    /// The output of what must have succeeded.
    #[track_caller]
    pub(crate) fn good(self) -> String {
        assert_eq!(self.code, 0, "{self:?}");
        self.out
    }

    /// The error text of what must have failed.
    #[track_caller]
    pub(crate) fn bad(self) -> String {
        assert_ne!(self.code, 0, "{self:?}");
        self.err
    }
}

/// Whether the runtime under test is ours; a few tests are about more than every runtime promises.
pub(crate) fn is_ours() -> bool {
    std::env::var_os("OCI_RUNTIME").is_none()
}

const PROGRAMS: &[&str] = &[
    "sh", "cat", "chmod", "cut", "echo", "grep", "head", "hostname", "id", "ionice", "ip", "kill", "ls",
    "mkdir", "mount", "mv", "pwd", "readlink", "rm", "sed", "sleep", "sort", "stat", "stty", "touch", "tr",
    "true", "tty", "umount", "uname", "wc",
];

impl Bundle {
    /// A container that runs a shell script with the namespaces and mounts of an ordinary one.
    pub(crate) fn script(script: &str) -> Self {
        Self::args(&["sh", "-c", script])
    }

    /// The same with any program.
    pub(crate) fn args(args: &[&str]) -> Self {
        static NEXT: AtomicU32 = AtomicU32::new(0);
        let id = format!("{}-{}", apart::prefix(), NEXT.fetch_add(1, Ordering::Relaxed));
        let dir = tempfile::tempdir().expect("temporary directory");
        let bin = dir.path().join("rootfs/bin");
        fs::create_dir_all(&bin).expect("make rootfs");
        let busybox = ["/bin/busybox", "/usr/bin/busybox"].into_iter().find(|path| Path::new(path).exists());
        fs::copy(busybox.expect("busybox-static is installed"), bin.join("busybox")).expect("copy busybox");
        for program in PROGRAMS {
            symlink("busybox", bin.join(program)).expect("link");
        }
        Self { config: config(args, &id), dir, id, user: None }
    }

    /// Changes the configuration.
    pub(crate) fn with(mut self, change: impl FnOnce(&mut Value)) -> Self {
        change(&mut self.config);
        self
    }

    /// The configuration, to be changed.
    pub(crate) fn config(&mut self) -> &mut Value {
        &mut self.config
    }

    /// The bundle's directory.
    pub(crate) fn path(&self) -> &Path {
        self.dir.path()
    }

    /// A path in the container's root, from outside.
    pub(crate) fn inside(&self, path: &str) -> PathBuf {
        self.dir.path().join("rootfs").join(path)
    }

    /// Lets everybody walk to the root directory: root in a user namespace is nobody outside.
    pub(crate) fn open_path(&self) {
        use std::os::unix::fs::PermissionsExt;
        fs::set_permissions(self.path(), fs::Permissions::from_mode(0o755)).expect("chmod");
    }

    /// Gives the container a user namespace that maps ids from 0 on to those of the host from `first` on.
    pub(crate) fn map_users(&mut self, first: u32) {
        let mappings = json!([{"containerID": 0, "hostID": first, "size": 65536}]);
        let linux = &mut self.config["linux"];
        linux["namespaces"].as_array_mut().expect("namespaces").push(json!({"type": "user"}));
        linux["uidMappings"] = mappings.clone();
        linux["gidMappings"] = mappings;
        std::os::unix::fs::chown(self.inside(""), Some(first), Some(first)).expect("chown");
        self.open_path();
    }

    /// Has this user run the runtime, and be root in a user namespace where nobody else exists.
    pub(crate) fn rootless(mut self, user: u32) -> Self {
        let mappings = json!([{"containerID": 0, "hostID": user, "size": 1}]);
        let linux = &mut self.config["linux"];
        linux["namespaces"].as_array_mut().expect("namespaces").push(json!({"type": "user"}));
        linux["uidMappings"] = mappings.clone();
        linux["gidMappings"] = mappings;
        self.give_to(user);
        self
    }

    /// Has this user run the runtime, and own all files.
    pub(crate) fn give_to(&mut self, user: u32) {
        let chown = Command::new("chown").args(["-hR", &format!("{user}:{user}"), self.bundle()]).status();
        assert!(chown.expect("chown").success());
        self.user = Some(user);
    }

    /// Adds a mount after all others.
    pub(crate) fn add_mount(&mut self, mount: Value) {
        self.config["mounts"].as_array_mut().expect("mounts").push(mount);
    }

    /// Where the runtime keeps its state.
    pub(crate) fn state_root(&self) -> PathBuf {
        self.dir.path().join("state")
    }

    /// The runtime, ready for a verb and with no output of its own yet.
    pub(crate) fn command(&self) -> Command {
        fs::write(self.path().join("config.json"), self.config.to_string()).expect("write config.json");
        let program =
            std::env::var("OCI_RUNTIME").unwrap_or_else(|_| env!("CARGO_BIN_EXE_edgelet-oci").to_owned());
        let mut command = Command::new(program);
        if let Some(user) = self.user {
            use std::os::unix::process::CommandExt;
            command.uid(user).gid(user);
        }
        command.arg("--root").arg(self.state_root()).stdin(Stdio::null());
        command
    }

    /// Runs a verb with these words after it. Output goes to files: a container that lives on keeps
    /// its streams open.
    pub(crate) fn runtime(&self, words: &[&str]) -> Finished {
        static NEXT: AtomicU32 = AtomicU32::new(0);
        let number = NEXT.fetch_add(1, Ordering::Relaxed);
        let (out, err) = (self.path().join(format!("out{number}")), self.path().join(format!("err{number}")));
        let mut command = self.command();
        command.args(words);
        command.stdout(File::create(&out).expect("file")).stderr(File::create(&err).expect("file"));
        finish(command, &out, &err)
    }

    /// `run` in the foreground.
    pub(crate) fn run(&self) -> Finished {
        self.runtime(&["run", "--bundle", self.bundle(), &self.id])
    }

    /// `create`; the output of the container is in [`Bundle::output`].
    pub(crate) fn create(&self) -> Finished {
        let mut command = self.command();
        command.args(["create", "--bundle", self.bundle(), &self.id]);
        let (out, err) = (self.path().join("output"), self.path().join("create-err"));
        command.stdout(File::create(&out).expect("file")).stderr(File::create(&err).expect("file"));
        finish(command, &out, &err)
    }

    /// What a created container has written so far.
    pub(crate) fn output(&self) -> String {
        fs::read_to_string(self.path().join("output")).expect("output")
    }

    /// Waits until a created container has written exactly this.
    #[track_caller]
    pub(crate) fn wait_for_output(&self, wanted: &str) {
        let deadline = Instant::now() + Duration::from_secs(20);
        while self.output() != wanted {
            assert!(Instant::now() < deadline, "{:?} is not {wanted:?}", self.output());
            std::thread::sleep(Duration::from_millis(5));
        }
    }

    /// A verb that takes just the id.
    pub(crate) fn verb(&self, verb: &str) -> Finished {
        self.runtime(&[verb, &self.id])
    }

    /// The state as JSON.
    #[track_caller]
    pub(crate) fn state(&self) -> Value {
        serde_json::from_str(&self.verb("state").good()).expect("state is JSON")
    }

    /// The state's status.
    #[track_caller]
    pub(crate) fn status(&self) -> String {
        self.state()["status"].as_str().expect("status").to_owned()
    }

    /// The first process of a created or running container.
    #[track_caller]
    pub(crate) fn pid(&self) -> i32 {
        self.state()["pid"].as_i64().and_then(|pid| i32::try_from(pid).ok()).expect("pid")
    }

    /// Waits until the first process has ended. To be called before it can have been replaced.
    #[track_caller]
    pub(crate) fn wait(&self) {
        let pid = self.state()["pid"].as_i64().unwrap_or(0);
        if pid != 0 {
            let pid = i32::try_from(pid).expect("pid");
            let Ok(process) = edgelet_sys::process::pidfd_open(pid) else { return };
            let ended = edgelet_sys::process::readable_within(process.as_fd(), Duration::from_secs(20));
            assert!(ended.expect("wait"), "the container does not end");
        }
    }

    pub(crate) fn bundle(&self) -> &str {
        self.dir.path().to_str().expect("a plain path")
    }

    /// Every cgroup directory of the container.
    pub(crate) fn cgroups(&self) -> Vec<PathBuf> {
        let mount_points = fs::read_to_string("/proc/self/mountinfo").expect("mountinfo");
        let mount_points = mount_points.lines().filter(|line| line.contains(" - cgroup"));
        let directory =
            |line: &str| PathBuf::from(line.split(' ').nth(4).expect("mount point")).join(&self.id);
        mount_points.map(directory).filter(|directory| directory.exists()).collect()
    }
}

impl Drop for Bundle {
    fn drop(&mut self) {
        let _ = self.runtime(&["delete", "--force", &self.id]);
    }
}

fn finish(mut command: Command, out: &Path, err: &Path) -> Finished {
    let mut runtime = command.spawn().expect("start the runtime");
    let process = edgelet_sys::process::pidfd_open(runtime.id().try_into().expect("pid")).expect("pidfd");
    let ended = edgelet_sys::process::readable_within(process.as_fd(), Duration::from_secs(60));
    if !ended.expect("wait") {
        runtime.kill().expect("kill");
        panic!("{command:?} hangs");
    }
    let status = runtime.wait().expect("wait");
    let read = |path| String::from_utf8_lossy(&fs::read(path).expect("output")).into_owned();
    use std::os::unix::process::ExitStatusExt;
    let code = status.code().unwrap_or_else(|| 128 + status.signal().unwrap_or(0));
    Finished { code, out: read(out), err: read(err) }
}

fn config(args: &[&str], id: &str) -> Value {
    let capabilities = json!(["CAP_CHOWN", "CAP_KILL", "CAP_SETGID", "CAP_SETUID", "CAP_NET_BIND_SERVICE"]);
    json!({
        "ociVersion": "1.0.2",
        "process": {
            "terminal": false,
            "user": {"uid": 0, "gid": 0},
            "args": args,
            "env": ["PATH=/bin", "HOME=/"],
            "cwd": "/",
            "capabilities": {"bounding": capabilities, "effective": capabilities, "permitted": capabilities},
            "noNewPrivileges": true,
        },
        "root": {"path": "rootfs"},
        "hostname": "box",
        "mounts": [
            {"destination": "/proc", "type": "proc", "source": "proc"},
            {"destination": "/dev", "type": "tmpfs", "source": "tmpfs", "options": ["nosuid", "mode=755", "size=64k"]},
            {"destination": "/dev/pts", "type": "devpts", "source": "devpts",
             "options": ["nosuid", "noexec", "newinstance", "ptmxmode=0666", "mode=0620"]},
            {"destination": "/dev/shm", "type": "tmpfs", "source": "shm", "options": ["nosuid", "noexec", "nodev", "mode=1777", "size=1m"]},
            {"destination": "/dev/mqueue", "type": "mqueue", "source": "mqueue", "options": ["nosuid", "noexec", "nodev"]},
            {"destination": "/sys", "type": "sysfs", "source": "sysfs", "options": ["nosuid", "noexec", "nodev", "ro"]},
        ],
        "linux": {
            "cgroupsPath": format!("/{id}"),
            "resources": {"devices": [{"allow": false, "access": "rwm"}]},
            "namespaces": [
                {"type": "pid"}, {"type": "ipc"}, {"type": "uts"}, {"type": "mount"}, {"type": "network"}, {"type": "cgroup"},
            ],
            "maskedPaths": ["/proc/kcore", "/proc/keys", "/proc/acpi", "/sys/firmware"],
            "readonlyPaths": ["/proc/bus", "/proc/fs", "/proc/irq", "/proc/sys", "/proc/sysrq-trigger"],
        },
    })
}

//! A real server on a real socket in a temporary directory, in front of a node that lives in memory and
//! runs local processes. The command line's tests use it too.

#![allow(dead_code, reason = "each test program uses its part")]

mod process;

use edgelet_api::node::*;
use edgelet_types::config::Config;
use edgelet_types::image::{ImageRecord, LayerRecord, RunConfig};
use edgelet_types::workload::{Source, Target};
use edgelet_types::{
    ContainerId, Digest, Fault, ImageRef, Layout, Name, Platform, Reason, UnixMillis, Workload, WorkloadId,
    WorkloadSpec,
};
use std::path::{Path, PathBuf};
use std::sync::mpsc::{Receiver, Sender, channel};
use std::sync::{Arc, Condvar, Mutex};
use std::thread::JoinHandle;
use std::time::{Duration, SystemTime};
use tokio::sync::oneshot;

/// Longer than anything in these tests takes, shorter than anybody's patience.
pub const PATIENCE: Duration = Duration::from_secs(60);

/// The digest of the image that is always there.
pub fn busybox_id() -> Digest {
    Digest::of(b"busybox")
}

/// A server; dropping it stops it.
pub struct Server {
    pub node: Arc<MemoryNode>,
    directory: tempfile::TempDir,
    stop: Option<oneshot::Sender<()>>,
    thread: Option<JoinHandle<()>>,
}

impl Server {
    /// Serves a fresh node with one running workload, `web`.
    pub fn start() -> Self {
        let directory = tempfile::tempdir().expect("a temporary directory");
        let node = Arc::new(MemoryNode::new());
        let path = Layout::new(directory.path()).socket();
        std::fs::create_dir_all(path.parent().expect("a parent")).expect("a directory");
        let listener = std::os::unix::net::UnixListener::bind(&path).expect("a socket");
        listener.set_nonblocking(true).expect("a socket");
        let (stop, stopped) = oneshot::channel();
        let served = node.clone();
        let thread = std::thread::spawn(move || {
            let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
            let runtime = runtime.expect("a runtime");
            runtime.block_on(async {
                let listener = tokio::net::UnixListener::from_std(listener).expect("a socket");
                let stopped = async { _ = stopped.await };
                edgelet_api::serve(listener, served, stopped).await;
            });
            runtime.shutdown_background();
        });
        Self { node, directory, stop: Some(stop), thread: Some(thread) }
    }

    /// The prefix of this node's paths.
    pub fn prefix(&self) -> &Path {
        self.directory.path()
    }

    /// Where it listens.
    pub fn socket(&self) -> PathBuf {
        Layout::new(self.prefix()).socket()
    }

    /// Tells it to stop and waits until it has.
    pub fn stop(&mut self) {
        drop(self.stop.take());
        if let Some(thread) = self.thread.take() {
            thread.join().expect("the server does not panic");
        }
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        drop(self.stop.take());
        if let Some(thread) = self.thread.take()
            && thread.join().is_err()
            && !std::thread::panicking()
        {
            panic!("the server panicked");
        }
    }
}

/// A node in memory.
pub struct MemoryNode {
    state: Mutex<State>,
    changed: Condvar,
    /// Hears of every program that was killed, by its first word.
    kills: Mutex<Receiver<String>>,
    killed: Sender<String>,
}

struct State {
    microservices: Vec<Microservice>,
    /// What the newest workload goes through, one phase per look at it.
    script: Vec<Phase>,
    logs: Vec<LogLine>,
    images: Vec<Image>,
    signals: Vec<i32>,
    ready: bool,
    /// Pulls wait until this is true.
    registry_up: bool,
    made: u8,
}

impl MemoryNode {
    fn new() -> Self {
        let (killed, kills) = channel();
        let state = State {
            microservices: vec![microservice("web", 0)],
            script: Vec::new(),
            logs: Vec::new(),
            images: vec![image("busybox:1.36", busybox_id(), 1)],
            signals: Vec::new(),
            ready: true,
            registry_up: true,
            made: 1,
        };
        Self { state: Mutex::new(state), changed: Condvar::new(), kills: Mutex::new(kills), killed }
    }

    fn with<T>(&self, work: impl FnOnce(&mut State) -> T) -> T {
        let result = work(&mut self.state.lock().expect("no test panics while holding it"));
        self.changed.notify_all();
        result
    }

    /// The workload writes a line, one second after the line before.
    pub fn log(&self, stream: LogStream, text: &str) {
        self.with(|state| {
            let at = UnixMillis(state.logs.len() as i64 * 1000);
            state.logs.push(LogLine { at, stream, text: text.to_owned() });
        });
    }

    /// The phases that a deployment goes through.
    pub fn script(&self, phases: impl IntoIterator<Item = Phase>) {
        self.with(|state| state.script = phases.into_iter().collect());
    }

    pub fn set_ready(&self, ready: bool) {
        self.with(|state| state.ready = ready);
    }

    pub fn set_registry_up(&self, up: bool) {
        self.with(|state| state.registry_up = up);
    }

    pub fn signals(&self) -> Vec<i32> {
        self.with(|state| state.signals.clone())
    }

    /// Waits until a program is killed and says which.
    pub fn next_kill(&self) -> String {
        let kills = self.kills.lock().expect("one test at a time");
        kills.recv_timeout(PATIENCE).expect("a program is killed")
    }

    fn change(&self, id: &WorkloadId, change: impl FnOnce(&mut Microservice)) -> Result<(), Fault> {
        self.with(|state| {
            let found = state.microservices.iter_mut().find(|ms| ms.workload.id == *id);
            found.map(change).ok_or_else(|| Fault::new(Reason::NotFound, format!("workload {id}: no such")))
        })
    }
}

impl Node for MemoryNode {
    fn version(&self) -> Version {
        Version {
            version: "9.9.9".to_owned(),
            build_time: "2026-11-20T00:00:00Z".to_owned(),
            git_commit: "abcdef0".to_owned(),
        }
    }

    fn ready(&self) -> Result<(), Fault> {
        match self.with(|state| state.ready) {
            true => Ok(()),
            false => Err(Fault::new(Reason::Internal, "recovery is going on")),
        }
    }

    fn status(&self) -> Result<Status, Fault> {
        Ok(Status {
            daemon: DaemonState::Running,
            warning: None,
            time: UnixMillis(1_790_000_000_000),
            uptime_ms: 61_000,
            engine_ready: true,
            cgroup_mode: Some("v2".to_owned()),
            agent: Usage { cpu_cores: Some(0.25), memory_bytes: Some(8 << 20) },
            runtime: Usage { cpu_cores: None, memory_bytes: Some(1 << 20) },
            data_bytes: Some(3 << 30),
            host: Host { cpus: Some(4), memory_total_bytes: Some(2 << 30), ..Host::default() },
        })
    }

    fn info(&self) -> Result<Info, Fault> {
        Ok(Info { config: Config::default(), layout: Layout::new("/") })
    }

    fn microservices(&self) -> Result<Vec<Microservice>, Fault> {
        Ok(self.with(|state| state.microservices.clone()))
    }

    fn microservice(&self, id: &WorkloadId) -> Result<Microservice, Fault> {
        self.with(|state| {
            let mut found = state.microservices.iter().find(|ms| ms.workload.id == *id).cloned();
            let newest = state.microservices.last().is_some_and(|ms| ms.workload.id == *id);
            if let Some(ms) = found.as_mut().filter(|_| newest && !state.script.is_empty()) {
                ms.phase = state.script.remove(0);
                ms.running_generation = (ms.phase == Phase::Running).then_some(ms.workload.generation);
                if ms.phase == Phase::Failed {
                    let fault = Fault::new(Reason::RegistryUnreachable, "pull: registry: no route to host");
                    let at = UnixMillis(i64::MAX);
                    ms.last_failure = Some(Failure { fault, at, generation: ms.workload.generation });
                }
            }
            found.ok_or_else(|| Fault::new(Reason::NotFound, format!("workload {id}: no such")))
        })
    }

    fn apply(&self, apply: &Apply) -> Result<Applied, Fault> {
        self.with(|state| {
            let mut ms = microservice(apply.name.as_str(), state.made);
            state.made += 1;
            ms.workload.spec = apply.spec.clone();
            ms.workload.manifest = Some(apply.manifest.clone());
            let applied = Applied { id: ms.workload.id.clone(), generation: ms.workload.generation };
            state.microservices.push(ms);
            Ok(applied)
        })
    }

    fn start(&self, id: &WorkloadId) -> Result<(), Fault> {
        self.change(id, |ms| (ms.workload.target, ms.phase) = (Target::Running, Phase::Running))
    }

    fn stop(&self, id: &WorkloadId) -> Result<(), Fault> {
        self.change(id, |ms| (ms.workload.target, ms.phase) = (Target::Stopped, Phase::Stopped))
    }

    fn restart(&self, id: &WorkloadId) -> Result<(), Fault> {
        self.change(id, |ms| {
            ms.workload.generation += 1;
            ms.running_generation = Some(ms.workload.generation);
            (ms.workload.target, ms.phase) = (Target::Running, Phase::Running);
        })
    }

    fn kill(&self, id: &WorkloadId, signal: Signal) -> Result<(), Fault> {
        if self.microservice(id)?.phase != Phase::Running {
            return Err(Fault::new(Reason::Conflict, "nothing runs"));
        }
        self.with(|state| state.signals.push(signal.number()));
        Ok(())
    }

    fn delete(&self, id: &WorkloadId) -> Result<(), Fault> {
        self.with(|state| state.microservices.retain(|ms| ms.workload.id != *id));
        Ok(())
    }

    fn logs(&self, _id: &WorkloadId, from: &LogFrom) -> Result<LogBatch, Fault> {
        self.with(|state| {
            let all = state.logs.len();
            let start = match from {
                LogFrom::Start => 0,
                LogFrom::Tail(count) => all.saturating_sub(usize::try_from(*count).expect("small")),
                LogFrom::After(cursor) => usize::try_from(cursor.offset).expect("small"),
            };
            let end = all.min(start + LogBatch::LINES);
            let stopped = state.microservices.iter().all(|ms| ms.workload.target != Target::Running);
            Ok(LogBatch {
                lines: state.logs[start..end].to_vec(),
                next: LogCursor { file: 0, offset: end as u64 },
                end: match (end < all, stopped) {
                    (true, _) => LogEnd::More,
                    (false, true) => LogEnd::Ended,
                    (false, false) => LogEnd::Quiet,
                },
            })
        })
    }

    fn exec(&self, _id: &WorkloadId, request: &ExecRequest) -> Result<Exec, Fault> {
        if request.command[0] == "never-starts" {
            std::thread::sleep(PATIENCE);
        }
        process::start(request, self.killed.clone())
    }

    fn images(&self) -> Result<Vec<Image>, Fault> {
        Ok(self.with(|state| state.images.clone()))
    }

    fn image_pull(&self, request: &PullRequest, watch: &dyn Watch) -> Result<PulledImage, Fault> {
        watch.progress(1 << 20, 4 << 20);
        let mut state = self.state.lock().expect("no test panics while holding it");
        while !state.registry_up {
            if watch.is_cancelled() {
                return Err(Fault::new(Reason::Cancelled, "pull: given up"));
            }
            state = self.changed.wait_timeout(state, Duration::from_millis(20)).expect("as above").0;
        }
        if request.image.registry() == "denied.example" {
            return Err(Fault::new(Reason::RegistryDenied, "pull: denied.example: http 401"));
        }
        let id = Digest::of(request.image.to_string().as_bytes());
        state.images.push(image(&request.image.to_string(), id, 0));
        Ok(PulledImage {
            id,
            manifest: id,
            platform: request.platform.clone().unwrap_or_else(Platform::host),
        })
    }

    fn image_load(&self, archive: &Path, watch: &dyn Watch) -> Result<Vec<LoadedImage>, Fault> {
        watch.progress(1, 2);
        match std::fs::read(archive) {
            Ok(bytes) => {
                let name = ImageRef::parse("loaded:1").ok();
                Ok(vec![LoadedImage { name, id: Digest::of(&bytes) }])
            }
            Err(error) => Err(Fault::new(Reason::InvalidInput, format!("load {archive:?}: {error}"))),
        }
    }

    fn image_remove(&self, target: &ImageTarget) -> Result<ImageTarget, Fault> {
        self.with(|state| {
            let is_target = |image: &Image| match target {
                ImageTarget::Name(name) => image.record.names.contains(name),
                ImageTarget::Id(id) => image.record.id == *id,
            };
            if state.images.iter().any(|image| is_target(image) && image.used_by > 0) {
                return Err(Fault::new(Reason::Conflict, "image is in use by edgelet.web"));
            }
            state.images.retain(|image| !is_target(image));
            Ok(target.clone())
        })
    }

    fn image_prune(&self) -> Result<Pruned, Fault> {
        Ok(Pruned { images: vec![Digest::of(b"old")], reclaimed_bytes: 5 << 20 })
    }
}

fn microservice(name: &str, number: u8) -> Microservice {
    Microservice {
        workload: Workload {
            id: WorkloadId::from_random([number; 16]),
            application: Name::parse("edgelet").expect("a name"),
            name: Name::parse(name).expect("a name"),
            source: Source::Local,
            target: Target::Running,
            generation: 1,
            spec: WorkloadSpec::of(ImageRef::parse("busybox:1.36").expect("a reference")),
            manifest: None,
            created_at: UnixMillis(1_790_000_000_000),
            updated_at: UnixMillis(1_790_000_000_000),
        },
        phase: Phase::Running,
        container: Some(ContainerId::from_random([number; 16])),
        running_generation: Some(1),
        pid: Some(4242),
        started_at: Some(UnixMillis(1_790_000_000_000)),
        error: None,
        last_failure: None,
        restarts: 0,
        waiting_for: None,
    }
}

fn image(name: &str, id: Digest, used_by: u64) -> Image {
    let layer = LayerRecord { diff_id: id, unpacked_bytes: 4 << 20, content_bytes: Some(2 << 20) };
    let record = ImageRecord {
        id,
        manifest: Some(id),
        platform: Platform::host(),
        names: vec![ImageRef::parse(name).expect("a reference")],
        layers: vec![layer],
        config: RunConfig::default(),
        created: Some(UnixMillis(1_790_000_000_000)),
        published_at: UnixMillis(1_790_000_000_000),
    };
    Image { record, used_by }
}

/// Waits until something is true; the condition is looked at often and bounded in time.
pub fn eventually(what: &str, mut is_true: impl FnMut() -> bool) {
    let start = SystemTime::now();
    while !is_true() {
        assert!(start.elapsed().is_ok_and(|waited| waited < PATIENCE), "never became true: {what}");
        std::thread::sleep(Duration::from_millis(10));
    }
}

//! From nothing to a running node, and back.

use crate::adapters::{KernelEntropy, StoreCatalog, StoreLedger};
use crate::configuration::{self, Loaded};
use crate::containers::{Watcher, Zygote};
use crate::drive::{self, EngineHandle, wall_clock};
use crate::heartbeat::{Alive, Heartbeat, Vital};
use crate::machine::LocalMachine;
use crate::node::LocalNode;
use crate::pulls::Pulls;
use crate::{build, logging};
use edgelet_engine::{Engine, Now, Settings};
use edgelet_image::{ImageStore, StoreOptions};
use edgelet_store::Store;
use edgelet_sys::notify::Manager;
use edgelet_types::config::Config;
use edgelet_types::{Fault, Layout, Platform, Reason};
use nix::sys::signal::{SigSet, Signal};
use std::fs::{self, File, TryLockError};
use std::io;
use std::os::unix::fs::{DirBuilderExt, PermissionsExt};
use std::os::unix::net::UnixListener;
use std::path::Path;
use std::process::ExitCode;
use std::sync::Arc;
use std::thread::{self, JoinHandle};
use std::time::Duration;

/// How many pulls and how many other steps run at a time.
const PULLS: usize = 2;
const STEPS: usize = 4;

/// How long calls of the API may take to end when the daemon stops.
const CALLS_LIMIT: Duration = Duration::from_secs(2);

/// Runs the node until SIGTERM or SIGINT. Containers go on when it ends.
pub fn run(layout: &Layout) -> ExitCode {
    // Blocked before any thread exists, so that only the wait below sees them.
    let stop = SigSet::from_iter([Signal::SIGTERM, Signal::SIGINT]);
    let outcome = stop
        .thread_block()
        .map_err(|error| Fault::new(Reason::Internal, error))
        .and_then(|()| serve(layout, &stop));
    match outcome {
        Ok(()) => ExitCode::SUCCESS,
        Err(fault) => {
            eprintln!(
                "<3>edgelet: cannot run reason={} error={fault} ({})",
                fault.reason.code(),
                fault.reason.remedy().advice()
            );
            ExitCode::FAILURE
        }
    }
}

fn serve(layout: &Layout, stop: &SigSet) -> Result<(), Fault> {
    // First: it has to be done before there are threads.
    let manager = Manager::take().map_err(|error| bad_environment(&error))?;
    check_machine(layout)?;
    make_directories(layout)?;
    let _only_one = lock(layout)?;
    let Loaded { config, warning } = configuration::load(layout)?;
    logging::start(config.log_level);
    if let Some(warning) = &warning {
        log::warn!("{warning}");
    }
    let (node, vitals) = Running::start(layout, Arc::new(config), warning)?;
    let heartbeat = manager.map(|manager| Heartbeat::start(manager, vitals)).transpose();
    let heartbeat = heartbeat.map_err(|error| failed("start the heartbeat", &error))?;
    log::info!("node started version={} prefix={}", build::version().version, layout.prefix().display());
    let signal = stop.wait().map_err(|error| Fault::new(Reason::Internal, error))?;
    log::info!("node stopping signal={signal}, containers go on");
    if let Some(heartbeat) = heartbeat {
        heartbeat.stop();
    }
    node.stop();
    Ok(())
}

fn bad_environment(error: &io::Error) -> Fault {
    Fault::chain(Reason::InvalidInput, error).context("read what the service manager wants")
}

/// What nothing can be run without, said once and at once instead of at every start of a container.
fn check_machine(layout: &Layout) -> Result<(), Fault> {
    if !nix::unistd::geteuid().is_root() {
        return Err(Fault::new(Reason::Forbidden, "the daemon must run as root"));
    }
    edgelet_sys::kernel::check().map_err(|error| Fault::new(Reason::NotSupported, error))?;
    if edgelet_oci::cgroup_mode().is_none() {
        return Err(Fault::new(Reason::CreateFailed, "no cgroup file system is mounted at /sys/fs/cgroup"));
    }
    if !layout.prefix().is_absolute() {
        let prefix = layout.prefix().display();
        return Err(Fault::new(
            Reason::InvalidInput,
            format!("{} {prefix}: must be absolute", Layout::PREFIX_VARIABLE),
        ));
    }
    // Whatever whoever started us left open must not be held by containers for as long as they live.
    edgelet_sys::descriptors::close_on_exec_from(3)
        .map_err(|error| failed("close inherited descriptors", &error))
}

/// The parts that have to be ended.
struct Running {
    node: Arc<LocalNode>,
    engine: EngineHandle,
    engine_thread: JoinHandle<()>,
    stop_api: tokio::sync::oneshot::Sender<()>,
    api_thread: JoinHandle<()>,
}

impl Running {
    /// Starts every part, and gives the threads of which each is needed for the whole to work.
    fn start(
        layout: &Layout,
        config: Arc<Config>,
        warning: Option<String>,
    ) -> Result<(Self, Vec<Vital>), Fault> {
        let store = Arc::new(Store::open(&layout.database())?);
        let images = Arc::new(open_images(layout, &config, &store)?);
        let pulls = Arc::new(Pulls::new(images.clone(), config.clone()));
        let engine = recover(&store, &config)?;
        let mut watcher = None;
        let (engine, engine_thread) = drive::start(engine, |handle| {
            let watcher = watcher.insert(Watcher::start(layout.clone(), handle)?).clone();
            let (layout, config, images, pulls) =
                (layout.clone(), config.clone(), images.clone(), pulls.clone());
            Ok(Arc::new(LocalMachine::new(layout, config, images, pulls, watcher, Zygote::start()?)))
        })
        .map_err(|error| failed("start the engine", &error))?;
        let node = Arc::new(LocalNode::new(layout.clone(), config, engine.clone(), images, pulls, warning));
        let (stop_api, stopped) = tokio::sync::oneshot::channel();
        // One question at a time.
        let (ask_api, asked) = tokio::sync::mpsc::channel(1);
        let api_thread = start_api(layout, node.clone(), stopped, asked)?;
        let asked_engine = engine.clone();
        let vitals = [
            Some(Vital::new("engine", move |alive| asked_engine.post(move || alive.say()))),
            watcher.map(|watcher| Vital::new("watch", move |alive| watcher.ask(alive))),
            Some(Vital::new("api", move |alive| ask_api.try_send(alive).is_ok())),
        ];
        let node = Self { node, engine, engine_thread, stop_api, api_thread };
        Ok((node, vitals.into_iter().flatten().collect()))
    }

    /// Ends the API first, so that nothing is accepted that would not be done, then the engine.
    fn stop(self) {
        self.node.set_stopping();
        // Either thread being gone already is what is wanted.
        let _ = self.stop_api.send(());
        let _ = self.api_thread.join();
        self.engine.stop();
        let _ = self.engine_thread.join();
    }
}

fn make_directories(layout: &Layout) -> Result<(), Fault> {
    // What lies in them is root's business alone (CVE-2024-25621).
    let private = [
        layout.data(),
        layout.staging(),
        layout.layers(),
        layout.scratch(),
        layout.bundles(),
        layout.runtime_root(),
    ];
    for dir in private {
        make_dir(&dir, 0o700)?;
    }
    // The socket in here is what is guarded, and by its own mode.
    make_dir(&layout.run(), 0o755)
}

fn make_dir(path: &Path, mode: u32) -> Result<(), Fault> {
    let made = fs::DirBuilder::new()
        .recursive(true)
        .mode(mode)
        .create(path)
        .and_then(|()| fs::set_permissions(path, fs::Permissions::from_mode(mode)));
    made.map_err(|error| failed("make a directory", &error).context(path.display()))
}

/// Makes sure that there is one daemon. The kernel lets go of the lock however this process ends.
fn lock(layout: &Layout) -> Result<File, Fault> {
    let path = layout.daemon_lock();
    let file = File::options().write(true).create(true).truncate(false).open(&path);
    let file = file.map_err(|error| failed("open the lock", &error).context(path.display()))?;
    match file.try_lock() {
        Ok(()) => Ok(file),
        Err(TryLockError::WouldBlock) => {
            Err(Fault::new(Reason::Conflict, format!("another daemon runs ({} is locked)", path.display())))
        }
        Err(TryLockError::Error(error)) => Err(failed("take the lock", &error)),
    }
}

fn open_images(layout: &Layout, config: &Config, store: &Arc<Store>) -> Result<ImageStore, Fault> {
    let options = StoreOptions {
        reserve_bytes: config.disk_reserve_bytes,
        parallel: config.pull_parallel,
        ..StoreOptions::default()
    };
    let images = ImageStore::open(layout, Arc::new(StoreCatalog(store.clone())), options)?;
    images.recover()?;
    Ok(images)
}

fn recover(store: &Arc<Store>, config: &Config) -> Result<Engine, Fault> {
    let boot = fs::read_to_string("/proc/sys/kernel/random/boot_id")
        .map_err(|error| failed("read the boot id", &error))?;
    let settings = Settings {
        platform: Platform::host(),
        boot: boot.trim().to_owned(),
        reserve_bytes: config.disk_reserve_bytes,
        pulls: PULLS,
        steps: STEPS,
    };
    let now = Now { monotonic: Duration::ZERO, wall: wall_clock() };
    Engine::recover(Box::new(StoreLedger(store.clone())), Box::new(KernelEntropy), settings, now)
}

/// Binds the socket and serves it on a thread of its own.
fn start_api(
    layout: &Layout,
    node: Arc<LocalNode>,
    stopped: tokio::sync::oneshot::Receiver<()>,
    mut asked: tokio::sync::mpsc::Receiver<Alive>,
) -> Result<JoinHandle<()>, Fault> {
    let listener = bind(&layout.socket())
        .map_err(|error| failed("bind the socket", &error).context(layout.socket().display()))?;
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_io()
        .enable_time()
        .build()
        .map_err(|error| failed("start the API", &error))?;
    let socket = layout.socket();
    let serve = move || {
        runtime.block_on(async {
            // Cannot fail: the runtime has I/O and the listener does not block.
            let listener =
                tokio::net::UnixListener::from_std(listener).expect("a listener on a runtime with I/O");
            tokio::spawn(async move {
                while let Some(alive) = asked.recv().await {
                    alive.say();
                }
            });
            edgelet_api::serve(listener, node, async {
                // The other end being dropped means the same.
                let _ = stopped.await;
            })
            .await;
        });
        // A call that waits for a registry or a disk is cut; what it does is safe to cut.
        runtime.shutdown_timeout(CALLS_LIMIT);
        // So that a client hears that nobody is there, and need not wait to find out.
        let _ = fs::remove_file(socket);
    };
    thread::Builder::new().name("api".into()).spawn(serve).map_err(|error| failed("start the API", &error))
}

/// The socket is made under another name and renamed, so that nobody can connect before its mode is set,
/// and one that a dead daemon left is replaced.
fn bind(path: &Path) -> io::Result<UnixListener> {
    let draft = path.with_extension("new");
    match fs::remove_file(&draft) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
        _ => {}
    }
    let listener = UnixListener::bind(&draft)?;
    fs::set_permissions(&draft, fs::Permissions::from_mode(0o600))?;
    fs::rename(&draft, path)?;
    listener.set_nonblocking(true)?;
    Ok(listener)
}

fn failed(doing: &'static str, error: &io::Error) -> Fault {
    let reason = match error.kind() {
        io::ErrorKind::PermissionDenied => Reason::Forbidden,
        _ => Reason::of_storage(error, Reason::Storage),
    };
    Fault::chain(reason, error).context(doing)
}

//! Starting one run of a workload: a bundle, a root file system, a shim.

use super::devices;
use super::id_ranges::IdRanges;
use super::zygote::Zygote;
use crate::bundle::{self, Identity};
use edgelet_api::node::Signal;
use edgelet_image::{Access, ImageStore, Users};
use edgelet_shim::files::{ORDER, Order, Report};
use edgelet_sys::durable::publish_volatile;
use edgelet_sys::process::{pidfd_signal, readable_within};
use edgelet_sys::root::RootDir;
use edgelet_types::config::IDS_OF_WORKLOAD;
use edgelet_types::image::ImageRecord;
use edgelet_types::{ContainerId, Fault, Layout, Reason, UnixMillis, Workload};
use std::fs::{self, File, OpenOptions, TryLockError};
use std::io::{self, Read};
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::Path;
use std::time::Duration;

/// How long a shim may take to report. Creating a container takes some milliseconds; a slow disk and a
/// cold page cache some hundred.
const START_LIMIT: Duration = Duration::from_secs(60);
/// The largest `/etc/passwd` or `/etc/group` of an image that is read.
const ACCOUNTS_BYTES: u64 = 4 << 20;
/// The largest `/etc/resolv.conf` of the host that is passed on.
const RESOLV_CONF_BYTES: u64 = 64 << 10;

/// What is to be started.
pub struct Launch<'a> {
    /// Whose run.
    pub workload: &'a Workload,
    /// The run.
    pub container: &'a ContainerId,
    /// The image that it runs from.
    pub image: &'a ImageRecord,
    /// When it was asked for.
    pub at: UnixMillis,
    /// `TZ` for workloads that set none.
    pub time_zone: &'a str,
}

/// What of this node a start needs.
pub struct Means<'a> {
    /// Where everything is.
    pub layout: &'a Layout,
    /// What images and root file systems are made of.
    pub images: &'a ImageStore,
    /// What shims are copies of.
    pub zygote: &'a Zygote,
    /// For workloads with users of their own.
    pub ids: &'a IdRanges,
}

/// Starts a run and gives its first process's id and its shim. What a failure leaves is for
/// [`super::remove`].
pub fn start(means: &Means<'_>, launch: &Launch<'_>) -> Result<(u32, OwnedFd), Fault> {
    let Means { layout, images, zygote, ids } = means;
    let lock = hold_instance(layout, launch.workload)?;
    let bundle = layout.bundle(launch.container);
    make_dir(&bundle)?;
    let order = |first_id| write_order(layout, &bundle, launch, first_id);
    let first_id = match launch.workload.spec.own_users {
        true => Some(ids.choose(layout, |first| order(Some(first)))?),
        false => order(None).map(|()| None)?,
    };
    let namespace = first_id.map(|first| zygote.make_users(first, IDS_OF_WORKLOAD)).transpose()?;
    let rootfs = bundle.join("rootfs");
    make_dir(&rootfs)?;
    let scratch = layout.container_scratch(launch.container);
    let users = namespace.as_ref().zip(first_id);
    let users = users.map(|(namespace, first)| Users { namespace: namespace.as_fd(), first });
    let access = Access { read_only: false, users };
    images.mount(launch.image, &scratch, &rootfs, access)?;
    write_bundle(&bundle, &rootfs, launch, first_id)?;
    let (status, status_end) = io::pipe().map_err(|error| failed("make a pipe", &error))?;
    let shim = zygote.make_shim(&bundle, lock, status_end)?;
    match report(&shim, status)? {
        Report::Started { pid } => Ok((pid, shim)),
        Report::Failed(fault) => Err(fault),
    }
}

/// Takes the lock that a live instance of the workload holds.
fn hold_instance(layout: &Layout, workload: &Workload) -> Result<File, Fault> {
    let path = layout.instance_lock(&workload.id);
    if let Some(dir) = path.parent() {
        make_dir(dir)?;
    }
    let file = OpenOptions::new().write(true).create(true).truncate(false).mode(0o600).open(&path);
    let file = file.map_err(|error| failed("open the instance lock", &error))?;
    // The lock belongs to the open file, which the shim inherits as its own: ours may be closed after that.
    match file.try_lock() {
        Ok(()) => Ok(file),
        Err(TryLockError::WouldBlock) => {
            Err(Fault::new(Reason::Conflict, format!("an instance of {} still runs", workload.name)))
        }
        Err(TryLockError::Error(error)) => Err(failed("take the instance lock", &error)),
    }
}

fn write_order(
    layout: &Layout,
    bundle: &Path,
    launch: &Launch<'_>,
    first_id: Option<u32>,
) -> Result<(), Fault> {
    let order = Order {
        container: launch.container.clone(),
        workload: launch.workload.id.clone(),
        generation: launch.workload.generation,
        at: launch.at,
        stop_signal: stop_signal(launch.image),
        runtime_root: layout.runtime_root(),
        log_dir: layout.workload_logs(&launch.workload.id),
        log_limit: launch.workload.spec.log,
        first_id,
    };
    publish_json(bundle, ORDER, &order)
}

/// The signal that the image's author chose. One that does not exist is as good as none: the image is a
/// stranger's, and its workload must still stop.
fn stop_signal(image: &ImageRecord) -> i32 {
    let wanted = image.config.stop_signal.as_deref().and_then(Signal::parse);
    wanted.map_or(nix::libc::SIGTERM, Signal::number)
}

/// Writes what the runtime reads. The image's own files are read below its root, which is hostile.
fn write_bundle(
    bundle: &Path,
    rootfs: &Path,
    launch: &Launch<'_>,
    first_id: Option<u32>,
) -> Result<(), Fault> {
    let workload = launch.workload;
    let root = RootDir::open(rootfs).map_err(|error| failed("open the root file system", &error))?;
    let hostname = workload.name.as_str();
    let identity = identity(&root, launch)?;
    let facts = bundle::Facts {
        container: launch.container,
        bundle,
        identity,
        hostname,
        time_zone: launch.time_zone,
        devices: devices::nodes(&workload.spec)?,
        first_id,
        cgroup_mount: Path::new("/sys/fs/cgroup").exists(),
    };
    let spec = bundle::spec(workload, &launch.image.config, &facts)?;
    let resolv_conf = read_bounded(File::open("/etc/resolv.conf"), RESOLV_CONF_BYTES)
        .map_err(|error| failed("read the host's resolv.conf", &error))?;
    for (name, text) in bundle::host_files(workload, hostname, &resolv_conf) {
        publish_volatile(bundle, name, text.as_bytes(), 0o644)
            .map_err(|error| failed("write the bundle", &error))?;
    }
    publish_json(bundle, "config.json", &spec)
}

fn identity(root: &RootDir, launch: &Launch<'_>) -> Result<Identity, Fault> {
    let spec = &launch.workload.spec;
    let accounts = |path: &str| {
        read_bounded(root.open_file(path), ACCOUNTS_BYTES)
            .map_err(|error| failed("read the image's accounts", &error))
    };
    let user = spec.user.as_deref().or(launch.image.config.user.as_deref()).filter(|user| !user.is_empty());
    let identity = bundle::resolve_identity(
        user,
        spec.group.as_deref(),
        &accounts("etc/passwd")?,
        &accounts("etc/group")?,
    );
    Ok(identity.map_err(bundle::BundleError::from)?)
}

/// A text file's content; empty when there is no such file. What is beyond the limit, or not UTF-8, is
/// left out: both only ever hold names to be looked up.
fn read_bounded(file: io::Result<File>, limit: u64) -> io::Result<String> {
    let file = match file {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(String::new()),
        file => file?,
    };
    let mut bytes = Vec::new();
    file.take(limit).read_to_end(&mut bytes)?;
    Ok(String::from_utf8_lossy(&bytes).into_owned())
}

/// Hears how the start went. A shim that says nothing in time is killed: then nothing changes any more,
/// which is what the engine counts on.
fn report(shim: &OwnedFd, mut status: io::PipeReader) -> Result<Report, Fault> {
    let ready =
        readable_within(status.as_fd(), START_LIMIT).map_err(|error| failed("hear from the shim", &error))?;
    if !ready {
        let _ = pidfd_signal(shim.as_fd(), nix::libc::SIGKILL);
        return Err(Fault::new(
            Reason::TimedOut,
            format!("container did not start within {} s", START_LIMIT.as_secs()),
        ));
    }
    let mut line = Vec::new();
    // One line of JSON, written in one go and followed by nothing; the shim keeps the pipe open.
    let mut byte = [0];
    while status.read(&mut byte).map_err(|error| failed("hear from the shim", &error))? == 1 && byte != *b"\n"
    {
        line.push(byte[0]);
    }
    serde_json::from_slice(&line)
        .map_err(|_| Fault::new(Reason::SupervisorLost, "the shim died before the container was started"))
}

fn make_dir(path: &Path) -> Result<(), Fault> {
    fs::DirBuilder::new()
        .recursive(true)
        .mode(0o700)
        .create(path)
        .map_err(|error| failed("make a directory", &error).context(path.display()))
}

fn publish_json(dir: &Path, name: &str, value: &impl serde::Serialize) -> Result<(), Fault> {
    let text = serde_json::to_vec(value).map_err(|error| Fault::chain(Reason::Internal, &error))?;
    publish_volatile(dir, name, &text, 0o600).map_err(|error| failed("write the bundle", &error))
}

fn failed(doing: &'static str, error: &io::Error) -> Fault {
    Fault::chain(Reason::of_storage(error, Reason::CreateFailed), error).context(doing)
}

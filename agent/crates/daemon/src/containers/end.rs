//! Ending a run, and taking away what it left.

use super::bundle_dir::{self, Held, Shim};
use edgelet_sys::process::{pidfd_open, pidfd_signal, readable_within};
use edgelet_sys::root::RootDir;
use edgelet_types::instance::InstanceState;
use edgelet_types::{ContainerId, Fault, Layout, Reason};
use nix::errno::Errno;
use std::fs;
use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::{Command, Stdio};
use std::thread;
use std::time::{Duration, Instant};

/// How long a process may take to die of SIGKILL, and a shim to notice.
const KILL_LIMIT: Duration = Duration::from_secs(5);
/// How long a killed container may take to be gone: its memory is given back, and its last pages written.
const GONE_LIMIT: Duration = Duration::from_secs(30);

/// How long a shim may take from its start to its first word: an exec and one small file.
const NAMED_LIMIT: Duration = Duration::from_secs(10);

/// Sends a run the signal that asks its program to end.
pub fn stop(layout: &Layout, container: &ContainerId) -> Result<(), Fault> {
    let order = bundle_dir::order(layout, container).map_err(|error| failed("look at the bundle", &error))?;
    match order {
        Some(order) => signal(layout, container, order.stop_signal),
        None => Ok(()),
    }
}

/// Sends a signal to the first process of a run. A run that has ended already is fine. SIGKILL ends with it
/// all others of its PID namespace; the shim ends what shares the host's.
pub fn signal(layout: &Layout, container: &ContainerId, signal: i32) -> Result<(), Fault> {
    match first_process(layout, container)? {
        Some(process) => deliver(&process, signal),
        None => Ok(()),
    }
}

/// Kills a run. Where its shim does not do its part the shim is killed too, which the engine then sees as a
/// lost run and takes away.
pub fn kill(layout: &Layout, container: &ContainerId) -> Result<(), Fault> {
    let held = bundle_dir::find(layout, container).map_err(|error| failed("look at the bundle", &error))?;
    let Some(shim) = held.and_then(|held| held.shim) else { return Ok(()) };
    if let Some(process) = first_process(layout, container)? {
        deliver(&process, nix::libc::SIGKILL)?;
        let dead = readable_within(process.as_fd(), KILL_LIMIT)
            .map_err(|error| failed("wait for a process", &error))?;
        if !dead {
            // Suspended, most likely: the runtime knows how to wake it for this.
            return runtime(layout, &["kill", container.as_str(), "KILL"]);
        }
    }
    // A shim that is well ends right after its container.
    let ended = readable_within(shim.process.as_fd(), KILL_LIMIT)
        .map_err(|error| failed("wait for the shim", &error))?;
    match ended {
        true => Ok(()),
        false => {
            log::warn!("shim does not end and is killed id={container} pid={}", shim.pid);
            deliver(&shim.process, nix::libc::SIGKILL)
        }
    }
}

/// Ends what still lives of a run and takes away all that it left. Nothing being there is fine.
pub fn remove(layout: &Layout, container: &ContainerId) -> Result<(), Fault> {
    if let Some(held) = named(layout, container)? {
        end(layout, container, &held)?;
    }
    // Also without a bundle: a reboot takes that away and leaves the rest.
    delete_runtime_state(layout, container)?;
    let bundle = layout.bundle(container);
    edgelet_image::unmount(&bundle.join("rootfs"))?;
    remove_tree(&layout.container_scratch(container))?;
    remove_tree(&bundle)
}

/// Looks at a container, and waits for a shim that has not said yet who it is.
fn named(layout: &Layout, container: &ContainerId) -> Result<Option<Held>, Fault> {
    let deadline = Instant::now() + NAMED_LIMIT;
    loop {
        let held =
            bundle_dir::find(layout, container).map_err(|error| failed("look at the bundle", &error))?;
        let unnamed = held.as_ref().is_some_and(|held| {
            let starting = held.instance.as_ref().is_some_and(|i| i.state == InstanceState::Starting);
            starting && held.shim.is_none()
        });
        if !unnamed {
            return Ok(held);
        }
        if Instant::now() > deadline {
            return Err(Fault::new(
                Reason::TimedOut,
                format!("the shim of {container} does not say who it is"),
            ));
        }
        thread::sleep(Duration::from_millis(10));
    }
}

/// Kills the container and waits for its shim.
fn end(layout: &Layout, container: &ContainerId, held: &Held) -> Result<(), Fault> {
    let Some(shim) = &held.shim else { return Ok(()) };
    if let Some(process) = first_process(layout, container)? {
        deliver(&process, nix::libc::SIGKILL)?;
    }
    if ended(&shim.process)? {
        return Ok(());
    }
    // It does not do its part; without it the runtime's own removal ends the container.
    deliver(&shim.process, nix::libc::SIGKILL)?;
    match ended(&shim.process)? {
        true => Ok(()),
        false => Err(Fault::new(Reason::TimedOut, format!("container {container} does not end"))),
    }
}

fn ended(shim: &OwnedFd) -> Result<bool, Fault> {
    readable_within(shim.as_fd(), GONE_LIMIT).map_err(|error| failed("wait for the shim", &error))
}

/// The first process of a running container, held so that its number cannot become another's.
fn first_process(layout: &Layout, container: &ContainerId) -> Result<Option<OwnedFd>, Fault> {
    let held = bundle_dir::find(layout, container).map_err(|error| failed("look at the bundle", &error))?;
    let Some((pid, shim)) = held.as_ref().and_then(running) else { return Ok(None) };
    let process = match pidfd_open(pid.cast_signed()) {
        Ok(process) => process,
        Err(error) if error.raw_os_error() == Some(nix::libc::ESRCH) => return Ok(None),
        Err(error) => return Err(failed("open the container's first process", &error)),
    };
    // The number was read before the process was opened. It is the container's if its parent is the shim:
    // nobody else's child is.
    Ok((parent(pid) == Some(shim.pid)).then_some(process))
}

fn running(held: &Held) -> Option<(u32, &Shim)> {
    match held.instance.as_ref()?.state {
        InstanceState::Running { pid } => held.shim.as_ref().map(|shim| (pid, shim)),
        _ => None,
    }
}

fn parent(pid: u32) -> Option<i32> {
    let status = fs::read_to_string(format!("/proc/{pid}/status")).ok()?;
    status.lines().find_map(|line| line.strip_prefix("PPid:")?.trim().parse().ok())
}

fn deliver(process: &OwnedFd, signal: i32) -> Result<(), Fault> {
    match pidfd_signal(process.as_fd(), signal) {
        Err(error) if error.raw_os_error() == Some(nix::libc::ESRCH) => Ok(()),
        result => result.map_err(|error| failed("send a signal", &error)),
    }
}

/// Lets the runtime take its state and the cgroup away, in a process of its own: it forks, and this one
/// has threads.
fn delete_runtime_state(layout: &Layout, container: &ContainerId) -> Result<(), Fault> {
    if layout.runtime_root().join(container.as_str()).exists() {
        return runtime(layout, &["delete", "--force", container.as_str()]);
    }
    // A reboot of `/run` alone, so to speak: the record is gone, and what it was of may live on.
    edgelet_oci::end_daemons_group(&edgelet_oci::Id::from(container))
        .map_err(|error| Fault::chain(Reason::Storage, &error).context("end what has no record"))
}

/// Runs a verb of the runtime.
fn runtime(layout: &Layout, arguments: &[&str]) -> Result<(), Fault> {
    let output = Command::new("/proc/self/exe")
        .arg0("edgelet-oci")
        .arg("--root")
        .arg(layout.runtime_root())
        .args(arguments)
        .stdin(Stdio::null())
        .output()
        .map_err(|error| failed("start the runtime", &error))?;
    if !output.status.success() {
        let told = String::from_utf8_lossy(&output.stderr);
        return Err(Fault::new(
            Reason::Storage,
            format!("runtime {}: {}", arguments.join(" "), told.trim_end()),
        ));
    }
    Ok(())
}

fn remove_tree(path: &Path) -> Result<(), Fault> {
    let (Some(parent), Some(name)) = (path.parent(), path.file_name()) else { return Ok(()) };
    let removed = match RootDir::open(parent) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
        root => root.and_then(|root| root.place(name)?.remove_all()),
    };
    removed.map_err(|error| failed("remove", &error).context(path.display()))
}

fn failed(doing: &'static str, error: &io::Error) -> Fault {
    let reason = match error.raw_os_error() {
        Some(code) if code == Errno::EBUSY as i32 => Reason::Conflict,
        _ => Reason::Storage,
    };
    Fault::chain(reason, error).context(doing)
}

//! What a bundle's files and the kernel together say about a container.

use edgelet_shim::files::{EXIT, INIT_PID, ORDER, Order, SHIM_PID};
use edgelet_sys::process::{pidfd_open, start_time};
use edgelet_types::instance::{Exit, Instance, InstanceState};
use edgelet_types::{ContainerId, Layout};
use serde::de::DeserializeOwned;
use std::fs::{self, File, TryLockError};
use std::io;
use std::os::fd::OwnedFd;
use std::path::Path;

/// A container that has a bundle.
pub struct Held {
    /// What is known of it; absent when the order was never written, so that nothing was started.
    pub instance: Option<Instance>,
    /// Its shim, while that lives and has said who it is.
    pub shim: Option<Shim>,
}

/// A live shim.
pub struct Shim {
    /// Its process id.
    pub pid: i32,
    /// The process, held so that the number cannot become another's unnoticed.
    pub process: OwnedFd,
}

/// Looks at every bundle.
pub fn find_all(layout: &Layout) -> io::Result<Vec<(ContainerId, Held)>> {
    let mut found = Vec::new();
    for container in containers(layout)? {
        let held = find(layout, &container)?;
        found.extend(held.map(|held| (container, held)));
    }
    Ok(found)
}

/// Those that have a bundle.
pub fn containers(layout: &Layout) -> io::Result<Vec<ContainerId>> {
    let entries = match fs::read_dir(layout.bundles()) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
        entries => entries?,
    };
    let mut found = Vec::new();
    for entry in entries {
        // Nothing else is ever put there; what is there all the same is not ours to judge.
        found.extend(entry?.file_name().to_str().and_then(|name| ContainerId::parse(name).ok()));
    }
    Ok(found)
}

/// Looks at one container; `None` when it has no bundle.
pub fn find(layout: &Layout, container: &ContainerId) -> io::Result<Option<Held>> {
    let bundle = layout.bundle(container);
    if !bundle.exists() {
        return Ok(None);
    }
    let Some(order) = read::<Order>(&bundle, ORDER)? else {
        return Ok(Some(Held { instance: None, shim: None }));
    };
    // The shim first and its exit file after it: in the other order it could end in between and look lost.
    let shim = live_shim(&bundle)?;
    let state = state(layout, &bundle, &order, shim.is_some())?;
    let instance = Instance {
        container: container.clone(),
        workload: order.workload,
        generation: order.generation,
        started_at: order.at,
        state,
    };
    Ok(Some(Held { instance: Some(instance), shim }))
}

/// What the shim of a container was told to hold; `None` when it has no bundle or nothing was started.
pub fn order(layout: &Layout, container: &ContainerId) -> io::Result<Option<Order>> {
    read(&layout.bundle(container), ORDER)
}

fn state(layout: &Layout, bundle: &Path, order: &Order, shim_lives: bool) -> io::Result<InstanceState> {
    if let Some(exit) = read::<Exit>(bundle, EXIT)? {
        return Ok(InstanceState::Exited(exit));
    }
    let unnamed_shim = || {
        Ok::<_, io::Error>(
            !bundle.join(SHIM_PID).exists() && is_locked(&layout.instance_lock(&order.workload))?,
        )
    };
    if !shim_lives && !unnamed_shim()? {
        return Ok(InstanceState::Lost);
    }
    Ok(match read_number(bundle, INIT_PID)? {
        Some(pid) => InstanceState::Running { pid },
        None => InstanceState::Starting,
    })
}

/// The shim that wrote its name into the bundle, if it is still that process.
fn live_shim(bundle: &Path) -> io::Result<Option<Shim>> {
    let Some(text) = read_text(bundle, SHIM_PID)? else { return Ok(None) };
    let numbers = text
        .split_once(' ')
        .and_then(|(pid, started)| Some((pid.parse::<i32>().ok()?, started.parse::<u64>().ok()?)));
    let Some((pid, started)) = numbers else { return Ok(None) };
    let process = match pidfd_open(pid) {
        Err(error) if error.raw_os_error() == Some(nix::libc::ESRCH) => return Ok(None),
        process => process?,
    };
    // Held open first and checked after: from here on the number cannot become another process.
    Ok((start_time(pid)? == Some(started)).then_some(Shim { pid, process }))
}

/// Whether a shim holds the workload's instance lock.
fn is_locked(path: &Path) -> io::Result<bool> {
    let file = match File::open(path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(false),
        file => file?,
    };
    match file.try_lock_shared() {
        Ok(()) => Ok(false),
        Err(TryLockError::WouldBlock) => Ok(true),
        Err(TryLockError::Error(error)) => Err(error),
    }
}

/// Published by rename, so it is whole or absent. One that cannot be read (by another version, or damaged) is
/// as good as absent: its container is then taken away and, if it is wanted, started anew.
fn read<T: DeserializeOwned>(bundle: &Path, name: &str) -> io::Result<Option<T>> {
    let Some(text) = read_text(bundle, name)? else { return Ok(None) };
    let value = serde_json::from_str(&text);
    Ok(value
        .inspect_err(|error| log::error!("{}/{name} cannot be read error={error}", bundle.display()))
        .ok())
}

fn read_number(bundle: &Path, name: &str) -> io::Result<Option<u32>> {
    Ok(read_text(bundle, name)?.and_then(|text| text.trim().parse().ok()))
}

fn read_text(bundle: &Path, name: &str) -> io::Result<Option<String>> {
    match fs::read_to_string(bundle.join(name)) {
        Ok(text) => Ok(Some(text)),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(error),
    }
}

//! Notices when a shim ends, which is when its container has ended.

use super::bundle_dir;
use crate::drive::EngineHandle;
use crate::heartbeat::Alive;
use edgelet_types::instance::{Instance, InstanceState};
use edgelet_types::{ContainerId, Layout};
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use std::collections::HashMap;
use std::io::{self, PipeReader, PipeWriter, Read, Write};
use std::os::fd::{AsFd, OwnedFd};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread;

/// Waits on all shims with one thread, and tells the engine what became of each.
#[derive(Clone)]
pub struct Watcher {
    shared: Arc<Shared>,
    wake: Arc<PipeWriter>,
}

#[derive(Default)]
struct Shared {
    watched: Mutex<HashMap<ContainerId, OwnedFd>>,
    /// Who wants to know whether the thread gets on.
    asked: Mutex<Option<Alive>>,
}

impl Watcher {
    /// Starts the thread.
    pub fn start(layout: Layout, engine: EngineHandle) -> io::Result<Self> {
        let (woken, wake) = io::pipe()?;
        let watcher = Self { shared: Arc::default(), wake: Arc::new(wake) };
        let shared = watcher.shared.clone();
        thread::Builder::new().name("watch".into()).spawn(move || {
            if let Err(error) = run(&layout, &engine, &shared, woken) {
                // Without this thread exits would go unseen; a restart of the daemon sees them all.
                panic!("watch containers: {error}");
            }
        })?;
        Ok(watcher)
    }

    /// Watches a shim until it ends. Watching one again changes nothing.
    pub fn watch(&self, container: &ContainerId, shim: OwnedFd) -> io::Result<()> {
        held(&self.shared.watched).entry(container.clone()).or_insert(shim);
        (&*self.wake).write_all(b"+")
    }

    /// Has the thread say that it gets on. `false` when it cannot be asked.
    pub fn ask(&self, alive: Alive) -> bool {
        *held(&self.shared.asked) = Some(alive);
        (&*self.wake).write_all(b"?").is_ok()
    }
}

fn run(layout: &Layout, engine: &EngineHandle, shared: &Shared, mut woken: PipeReader) -> io::Result<()> {
    loop {
        let shims: Vec<(ContainerId, OwnedFd)> = {
            let watched = held(&shared.watched);
            let copies = watched.iter().map(|(id, shim)| Ok((id.clone(), shim.try_clone()?)));
            copies.collect::<io::Result<_>>()?
        };
        let all = std::iter::once(woken.as_fd()).chain(shims.iter().map(|(_, shim)| shim.as_fd()));
        let mut waiting: Vec<_> = all.map(|fd| PollFd::new(fd, PollFlags::POLLIN)).collect();
        match poll(&mut waiting, PollTimeout::NONE) {
            Err(nix::errno::Errno::EINTR) => continue,
            ready => ready?,
        };
        let ready: Vec<bool> = waiting.iter().map(|fd| fd.any().unwrap_or(false)).collect();
        if ready[0] {
            // The end of the pipe means that nobody watches any more: the daemon is stopping.
            if woken.read(&mut [0])? == 0 {
                return Ok(());
            }
            if let Some(alive) = held(&shared.asked).take() {
                alive.say();
            }
        }
        for ((container, _), _) in shims.iter().zip(&ready[1..]).filter(|(_, ready)| **ready) {
            held(&shared.watched).remove(container);
            ended(layout, engine, container);
        }
    }
}

fn held<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Tells the engine what the shim left as its last word.
fn ended(layout: &Layout, engine: &EngineHandle, container: &ContainerId) {
    let instance = match bundle_dir::find(layout, container) {
        Ok(held) => held.and_then(|held| held.instance),
        Err(error) => {
            log::error!("container cannot be looked at id={container} error={error}");
            None
        }
    };
    if let Some(instance) = instance {
        log_end(&instance);
        engine.instance(instance);
    }
}

fn log_end(instance: &Instance) {
    let (container, workload) = (&instance.container, &instance.workload);
    match &instance.state {
        InstanceState::Exited(exit) => {
            log::info!("container ended id={container} workload={workload} {exit}")
        }
        _ => log::warn!("container lost id={container} workload={workload}"),
    }
}

//! Collecting children whose end nobody waits for.

use std::process::Child;
use std::thread;

/// Collects a child that has ended or has been killed, on a thread of its own: a process that hangs in the
/// kernel must not hold up whoever started it. Without a thread to be had, the child stays a zombie until the
/// daemon ends, which is the lesser harm.
pub fn reap(mut child: Child) {
    let wait = move || {
        let _ = child.wait();
    };
    if let Err(error) = thread::Builder::new().name("reap".into()).spawn(wait) {
        log::warn!("child not collected error={error}");
    }
}

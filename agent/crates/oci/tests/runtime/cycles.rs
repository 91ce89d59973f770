//! Lives of many containers side by side, some of whose runtimes are killed: nothing may be left behind.
//! `CONFORMANCE_CYCLES` of them.

use crate::apart;
use crate::chance::Chance;
use crate::support::Bundle;
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

const SIDE_BY_SIDE: usize = 16;

#[test]
fn lives_leave_nothing_behind() {
    apart::run("cycles::lives_leave_nothing_behind", || {
        each(|_, bundle| {
            bundle.create().good();
            bundle.verb("start").good();
            bundle.runtime(&["kill", &bundle.id, "KILL"]).good();
            bundle.wait();
            bundle.verb("delete").good();
        });
    });
}

#[test]
fn killed_runtimes_leave_nothing_that_a_delete_does_not_remove() {
    apart::run("cycles::killed_runtimes_leave_nothing_that_a_delete_does_not_remove", || {
        each(|number, bundle| {
            let mut chance = Chance::of(number);
            let verbs: [&[&str]; 5] = [
                &["create", "--bundle", bundle.bundle(), &bundle.id],
                &["start", &bundle.id],
                &["exec", &bundle.id, "true"],
                &["kill", &bundle.id, "KILL"],
                &["delete", "--force", &bundle.id],
            ];
            for verb in verbs {
                let mut command = bundle.command();
                command.args(verb).stdout(std::process::Stdio::null()).stderr(std::process::Stdio::null());
                let mut runtime = command.spawn().expect("start the runtime");
                if chance.one_in(3) {
                    std::thread::sleep(Duration::from_micros(
                        chance.below(25_000).try_into().expect("small"),
                    ));
                    let pid = Pid::from_raw(i32::try_from(runtime.id()).expect("pid"));
                    kill(pid, Signal::SIGKILL).expect("kill the runtime");
                }
                runtime.wait().expect("wait");
            }
            bundle.runtime(&["delete", "--force", &bundle.id]).good();
        });
    });
}

/// Does this for every number, with a container of its own.
fn each(live: impl Fn(u64, &Bundle) + Sync) {
    let count = apart::how_many("CONFORMANCE_CYCLES", 64);
    let next = AtomicU64::new(0);
    std::thread::scope(|scope| {
        for _ in 0..SIDE_BY_SIDE {
            scope.spawn(|| {
                loop {
                    let number = next.fetch_add(1, Ordering::Relaxed);
                    if number >= count {
                        return;
                    }
                    let bundle = Bundle::args(&["sleep", "100"]);
                    live(number, &bundle);
                    let left = std::fs::read_dir(bundle.state_root()).map_or(0, Iterator::count);
                    assert_eq!(left, 0, "life {number}: state is left");
                    assert!(bundle.cgroups().is_empty(), "life {number}: a group is left");
                }
            });
        }
    });
}

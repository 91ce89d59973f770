//! Another container swaps what the two share while this one is being made. `CONFORMANCE_RACE_SECONDS` long.

use crate::apart;
use crate::support::Bundle;
use nix::fcntl::{RenameFlags, renameat2};
use nix::sys::stat::{Mode, SFlag, makedev, mknod};
use serde_json::json;
use std::fs;
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

/// CVE-2021-30465: the place of a mount becomes a link between the look at it and the mount.
#[test]
fn a_place_that_comes_and_goes_leads_nowhere_outside() {
    apart::run("races::a_place_that_comes_and_goes_leads_nowhere_outside", || {
        let bundle = Bundle::args(&["true"]).with(|config| {
            config["mounts"].as_array_mut().expect("mounts").extend([
                json!({"destination": "/v/a/tmpfs", "type": "tmpfs", "source": "t"}),
                json!({"destination": "/v/a/bind", "type": "bind", "source": "/etc/hostname", "options": ["bind"]}),
            ]);
            config["linux"]["maskedPaths"] = json!(["/v/a", "/v/a/file"]);
            config["linux"]["readonlyPaths"] = json!(["/v/a"]);
            config["linux"]["devices"] = json!([{"path": "/v/a/device", "type": "c", "major": 1, "minor": 3}]);
        });
        let canary = Canary::new(&bundle);
        fs::create_dir_all(bundle.inside("v/a")).expect("mkdir");
        symlink(&canary.0, bundle.inside("v/b")).expect("link");
        race(&bundle, &[(bundle.inside("v/a"), bundle.inside("v/b"))], &canary);
    });
}

/// CVE-2025-31133, CVE-2025-52565, CVE-2025-62161 and CVE-2025-62596: what covers a masked path, and the place of
/// the console and of the terminals, become links between the look at them and their use.
#[test]
fn devices_that_come_and_go_are_neither_used_nor_covered_outside() {
    apart::run("races::devices_that_come_and_go_are_neither_used_nor_covered_outside", || {
        let mut bundle = Bundle::script("cat /secret");
        let shared = bundle.path().join("shared");
        let source = shared.to_str().expect("plain").to_owned();
        let mounts = bundle.config()["mounts"].as_array_mut().expect("mounts");
        for mount in mounts.iter_mut().filter(|mount| mount["destination"] == "/dev") {
            *mount = json!({"destination": "/dev", "type": "bind", "source": source, "options": ["rbind"]});
        }
        mounts
            .retain(|mount| !["/dev/shm", "/dev/mqueue"].map(Some).contains(&mount["destination"].as_str()));
        bundle.config()["linux"]["maskedPaths"] = json!(["/secret"]);
        let canary = Canary::new(&bundle);
        fs::write(bundle.inside("secret"), "secret").expect("write");
        fs::create_dir_all(shared.join("pts")).expect("mkdir");
        symlink(&canary.0, shared.join("pts.other")).expect("link");
        for (name, device) in [("null", makedev(1, 3)), ("zero", makedev(1, 5)), ("tty", makedev(5, 0))] {
            mknod(&shared.join(name), SFlag::S_IFCHR, Mode::from_bits_truncate(0o666), device)
                .expect("mknod");
            symlink(canary.0.join("file"), shared.join(format!("{name}.other"))).expect("link");
        }
        fs::write(shared.join("console"), "").expect("write");
        symlink(canary.0.join("file"), shared.join("console.other")).expect("link");
        let swapped = ["null", "zero", "tty", "console", "pts"];
        let pairs = swapped.map(|name| (shared.join(name), shared.join(format!("{name}.other"))));
        race(&bundle, &pairs, &canary);
    });
}

/// Whoever may look into other processes must not find one that still sees the host's files.
#[test]
fn who_comes_into_a_container_brings_nothing_of_the_host() {
    apart::run("races::who_comes_into_a_container_brings_nothing_of_the_host", || {
        let mut bundle = Bundle::args(&["true"]);
        let canary = Canary::new(&bundle);
        let look = format!(
            "while :; do for p in /proc/[0-9]*; do [ -e $p/root{}/file ] && echo found $p; done; done",
            canary.0.display()
        );
        bundle.config()["process"]["args"] = json!(["sh", "-c", look]);
        for set in ["bounding", "effective", "permitted"] {
            let set = bundle.config()["process"]["capabilities"][set].as_array_mut().expect("capabilities");
            set.push("CAP_SYS_PTRACE".into());
        }
        bundle.create().good();
        bundle.verb("start").good();
        for _ in 0..apart::how_many("CONFORMANCE_ENTRIES", 60) {
            bundle.runtime(&["exec", &bundle.id, "true"]).good();
        }
        assert_eq!(bundle.output(), "");
        bundle.runtime(&["delete", "--force", &bundle.id]).good();
    });
}

/// A loaded machine gets one through in this time.
const PATIENCE: Duration = Duration::from_secs(60);

/// Runs the container again and again while the two of each pair change places. Whether it works depends on the
/// moment; where it leads to, and that a masked file is never read, must not.
fn race(bundle: &Bundle, pairs: &[(PathBuf, PathBuf)], canary: &Canary) {
    let length = Duration::from_secs(apart::how_many("CONFORMANCE_RACE_SECONDS", 3));
    let (stop, started) = (AtomicBool::new(false), Instant::now());
    let (mut ran, mut refused) = (0, 0);
    std::thread::scope(|scope| {
        scope.spawn(|| {
            while !stop.load(Ordering::Relaxed) {
                for (one, other) in pairs {
                    renameat2(None, one, None, other, RenameFlags::RENAME_EXCHANGE).expect("exchange");
                }
            }
        });
        while started.elapsed() < length || ran == 0 && started.elapsed() < PATIENCE {
            let finished = bundle.run();
            let count = if finished.code == 0 { &mut ran } else { &mut refused };
            *count += 1;
            assert!(!finished.out.contains("secret"), "{finished:?}");
            canary.assert_alive();
        }
        stop.store(true, Ordering::Relaxed);
    });
    println!("{ran} ran, {refused} were refused");
    assert!(ran > 0, "none of {refused} containers ran, so that late steps were not reached");
}

/// A directory of the host with a file in it.
struct Canary(PathBuf);

impl Canary {
    fn new(bundle: &Bundle) -> Self {
        let directory = bundle.path().join("canary");
        fs::create_dir(&directory).expect("mkdir");
        fs::write(directory.join("file"), "sings").expect("write");
        Self(directory)
    }

    #[track_caller]
    fn assert_alive(&self) {
        let names = fs::read_dir(&self.0).expect("read").map(|entry| entry.expect("entry").file_name());
        assert_eq!(names.collect::<Vec<_>>(), ["file"], "something was made on the host");
        assert_eq!(fs::read_to_string(self.0.join("file")).expect("read"), "sings");
        let mounts = fs::read_to_string("/proc/self/mountinfo").expect("mountinfo");
        assert!(!mounts.contains(&*self.0.to_string_lossy()), "something was mounted on the host");
        assert!(Path::new("/dev/null").exists());
    }
}

//! Running a test in namespaces of its own, where what it leaves behind can be counted to the last piece.

use std::collections::BTreeSet;
use std::fs;
use std::path::PathBuf;
use std::process::Command;
use std::time::{Duration, Instant};

/// Set in a test that runs apart, to what its containers are called.
const NAME: &str = "EDGELET_TEST_APART";

/// What the containers of this process are called before their number: unique on the machine.
pub(crate) fn prefix() -> String {
    std::env::var(NAME).unwrap_or_else(|_| format!("edgelet-test-{}", std::process::id()))
}

/// Runs the test of this name once more as a process in its own pid and mount namespace, and there the body.
/// Afterwards the mounts, groups, processes and open descriptors there have to be those that were there before.
#[track_caller]
pub(crate) fn run(name: &str, body: impl FnOnce()) {
    if std::env::var_os(NAME).is_some() {
        // What is opened once and kept, such as the output, is not counted as left behind.
        print!("{name}: ");
        let before = Holdings::now();
        body();
        // What was killed takes a moment to be gone and collected.
        let deadline = Instant::now() + Duration::from_secs(20);
        while !Holdings::now().are_those(&before) && Instant::now() < deadline {
            std::thread::sleep(Duration::from_millis(50));
        }
        let after = Holdings::now();
        assert!(after.are_those(&before), "something was left behind: {after:#?}\nnot {before:#?}");
        return;
    }
    // The shell is the first process there, and collects what nobody waits for.
    let unshare = ["--mount", "--pid", "--fork", "--mount-proc", "--kill-child", "--propagation", "private"];
    let mut command = Command::new("unshare");
    command.args(unshare).args(["sh", "-c", "\"$0\" \"$@\"; exit $?"]);
    command.arg(std::env::current_exe().expect("this program"));
    command.args(["--exact", name, "--nocapture"]).env(NAME, format!("{}-apart", prefix()));
    let output = command.output().expect("unshare");
    let text =
        String::from_utf8_lossy(&output.stdout).into_owned() + &String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success() && text.contains("1 passed"), "{text}");
    println!("{text}");
}

/// What a container may occupy on its host.
#[derive(Debug)]
struct Holdings {
    processes: BTreeSet<i32>,
    descriptors: usize,
    mounts: BTreeSet<String>,
    groups: Vec<PathBuf>,
}

impl Holdings {
    /// Whether there is nothing that was not there before. There may be fewer mounts: whoever removes a directory on
    /// the host takes what is mounted there away in all namespaces.
    fn are_those(&self, before: &Self) -> bool {
        self.mounts.is_subset(&before.mounts)
            && (&self.processes, self.descriptors, &self.groups)
                == (&before.processes, before.descriptors, &before.groups)
    }

    fn now() -> Self {
        let names = |directory: &str| {
            let entries =
                fs::read_dir(directory).expect("list").map(|entry| entry.expect("entry").file_name());
            entries.map(|name| name.to_string_lossy().into_owned()).collect::<Vec<_>>()
        };
        let mounts = fs::read_to_string("/proc/self/mountinfo").expect("mountinfo");
        let trees = mounts.lines().filter(|line| line.contains(" - cgroup"));
        let below = |line: &str| names(line.split(' ').nth(4).expect("mount point"));
        let prefix = prefix();
        Self {
            processes: names("/proc").iter().filter_map(|name| name.parse().ok()).collect(),
            descriptors: names("/proc/self/fd").len(),
            groups: trees
                .flat_map(below)
                .filter(|name| name.starts_with(&prefix))
                .map(PathBuf::from)
                .collect(),
            mounts: mounts.lines().map(str::to_owned).collect(),
        }
    }
}

/// A number from the environment, for the long runs of what is short in CI.
pub(crate) fn how_many(variable: &str, in_ci: u64) -> u64 {
    std::env::var(variable).map_or(in_ci, |text| text.parse().expect("a number"))
}

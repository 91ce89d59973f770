//! Further processes in a running container.

use crate::support::{Bundle, Finished, is_ours};
use serde_json::{Value, json};
use std::fs;

fn running() -> Bundle {
    let bundle = Bundle::args(&["sleep", "100"])
        .with(|config| config["process"]["env"] = json!(["PATH=/bin", "FROM=config"]));
    bundle.create().good();
    bundle.verb("start").good();
    bundle
}

fn exec_process(bundle: &Bundle, change: impl FnOnce(&mut Value)) -> Finished {
    let mut process = json!({
        "terminal": false, "user": {"uid": 0, "gid": 0}, "cwd": "/", "env": ["PATH=/bin"], "args": ["true"], "noNewPrivileges": true,
    });
    change(&mut process);
    let path = bundle.path().join("process.json");
    fs::write(&path, process.to_string()).expect("write");
    bundle.runtime(&["exec", "--process", path.to_str().expect("plain"), &bundle.id])
}

#[test]
fn exec_runs_in_every_namespace_and_group_of_the_container() {
    let bundle = running();
    let script = "for f in pid ipc uts mnt net cgroup; do readlink /proc/self/ns/$f; readlink /proc/1/ns/$f; done; hostname";
    // What is inside may read the links of the first process only with its rights.
    let out = bundle.runtime(&["exec", &bundle.id, "sh", "-c", script]).good();
    let lines: Vec<&str> = out.lines().collect();
    let pairs = lines[..12].chunks(2);
    assert!(pairs.clone().all(|pair| pair[0] == pair[1]), "{out}");
    assert_eq!(lines[12], "box");
    let groups = bundle.runtime(&["exec", &bundle.id, "cat", "/proc/self/cgroup"]).good();
    let joined = groups.lines().filter(|line| line.ends_with(":/")).count();
    assert!(joined >= 1, "{groups}");
}

#[test]
fn exec_returns_the_code_of_its_program() {
    let bundle = running();
    assert_eq!(bundle.runtime(&["exec", &bundle.id, "sh", "-c", "exit 23"]).code, 23);
    assert_eq!(bundle.runtime(&["exec", &bundle.id, "sh", "-c", "kill -9 $$"]).code, 137);
    assert_eq!(bundle.runtime(&["exec", &bundle.id, "true"]).code, 0);
    assert_eq!(bundle.status(), "running");
}

#[test]
fn exec_takes_user_directory_and_environment() {
    let bundle = running();
    let script = "id -u; id -g; pwd; echo $A $FROM";
    let words =
        ["exec", "--user", "1000:1001", "--cwd", "/dev", "--env", "A=b", &bundle.id, "sh", "-c", script];
    assert_eq!(bundle.runtime(&words).good(), "1000\n1001\n/dev\nb config\n");
    let whole = exec_process(&bundle, |process| {
        process["args"] = json!(["sh", "-c", "id -u; id -G; pwd; echo $A$FROM; umask"]);
        process["user"] = json!({"uid": 5, "gid": 6, "additionalGids": [7], "umask": 0o077});
        process["cwd"] = "/proc".into();
        process["env"] = json!(["PATH=/bin", "A=only"]);
    });
    assert_eq!(whole.good(), "5\n6 7\n/proc\nonly\n0077\n");
}

#[test]
fn exec_has_the_capabilities_asked_for_and_none_inheritable() {
    let bundle = running();
    let out = exec_process(&bundle, |process| {
        process["args"] = json!(["grep", "^Cap", "/proc/self/status"]);
        process["capabilities"] =
            json!({"bounding": ["CAP_CHOWN"], "permitted": ["CAP_CHOWN"], "effective": ["CAP_CHOWN"]});
    });
    let out = out.good();
    let want = [("CapInh", 0), ("CapPrm", 1), ("CapEff", 1), ("CapBnd", 1), ("CapAmb", 0)];
    for (name, value) in want {
        assert!(out.contains(&format!("{name}:\t{value:016x}")), "{name}: {out}");
    }
    let out = bundle
        .runtime(&["exec", "--cap", "CAP_NET_RAW", &bundle.id, "grep", "CapInh", "/proc/self/status"])
        .good();
    if is_ours() {
        assert_eq!(out, "CapInh:\t0000000000000000\n");
    }
}

#[test]
fn exec_says_why_a_program_cannot_run() {
    let bundle = running();
    let error = bundle.runtime(&["exec", &bundle.id, "nothing"]).bad();
    assert!(!is_ours() || error.contains("executable file not found"), "{error}");
    let error = bundle.runtime(&["exec", &bundle.id, "/proc/self/status"]).bad();
    assert!(error.to_lowercase().contains("permission denied"), "{error}");
}

#[test]
fn exec_needs_a_running_container() {
    let bundle = running();
    bundle.runtime(&["kill", &bundle.id, "9"]).good();
    bundle.wait();
    let error = bundle.runtime(&["exec", &bundle.id, "true"]).bad();
    assert!(!is_ours() || error.contains("container not running"), "{error}");
}

#[test]
fn exec_obeys_the_filter_of_the_container() {
    let bundle = Bundle::args(&["sleep", "100"]).with(|config| {
        config["linux"]["seccomp"] = json!({
            "defaultAction": "SCMP_ACT_ALLOW",
            "syscalls": [{"names": ["mkdir", "mkdirat"], "action": "SCMP_ACT_ERRNO"}],
        });
    });
    bundle.create().good();
    bundle.verb("start").good();
    let error = bundle.runtime(&["exec", &bundle.id, "mkdir", "/dev/shm/x"]).bad();
    assert!(error.contains("not permitted"), "{error}");
}

#[test]
fn exec_leaks_no_descriptor_and_no_directory_of_the_host() {
    let bundle = running();
    let out = bundle.runtime(&["exec", &bundle.id, "ls", "/proc/self/fd"]).good();
    assert_eq!(out, "0\n1\n2\n3\n", "3 is the directory being listed");
    for number in 0..20 {
        let cwd = format!("/proc/self/fd/{number}");
        let finished = exec_process(&bundle, |process| {
            process["cwd"] = cwd.clone().into();
            process["args"] = json!(["sh", "-c", "pwd; ls .."]);
        });
        assert!(finished.code != 0 || !finished.out.contains("home"), "{cwd}: {finished:?}");
    }
}

/// Who may look into neighbours sees what they have open, from the moment that they are there.
#[test]
fn an_exec_holds_no_way_to_the_host_while_it_is_among_those_inside() {
    let bundle = running();
    let init = bundle.pid();
    let namespace = |pid: &str| fs::read_link(format!("/proc/{pid}/ns/pid")).ok();
    let inside = namespace(&init.to_string());
    let state = bundle.state_root();
    let mut looks = 0;
    std::thread::scope(|scope| {
        let execs = scope.spawn(|| {
            for _ in 0..100 {
                bundle.runtime(&["exec", &bundle.id, "true"]).good();
            }
        });
        while !execs.is_finished() {
            for process in fs::read_dir("/proc").expect("list /proc").flatten() {
                let pid = process.file_name().into_string().unwrap_or_default();
                let is_newer = pid.parse::<i32>().is_ok_and(|pid| pid > init);
                if !is_newer || namespace(&pid) != inside {
                    continue;
                }
                looks += 1;
                for open in fs::read_dir(process.path().join("fd")).into_iter().flatten().flatten() {
                    let Ok(target) = fs::read_link(open.path()) else { continue };
                    let is_a_group = target.starts_with("/sys/fs/cgroup") && target.is_dir();
                    assert!(!is_a_group && !target.starts_with(&state), "{}", target.display());
                }
            }
        }
        execs.join().expect("every exec works");
    });
    assert!(looks > 0, "nobody was seen");
}

#[test]
fn a_paused_container_is_shown_and_refuses_exec() {
    let bundle = running();
    bundle.verb("pause").good();
    assert_eq!(bundle.status(), "paused");
    if is_ours() {
        bundle.runtime(&["exec", &bundle.id, "true"]).bad();
    }
    bundle.verb("resume").good();
    assert_eq!(bundle.status(), "running");
    bundle.runtime(&["exec", &bundle.id, "true"]).good();
}

#[test]
fn a_process_for_a_paused_container_starts_when_that_is_resumed() {
    if !is_ours() {
        return;
    }
    let bundle = running();
    bundle.verb("pause").good();
    std::thread::scope(|scope| {
        let exec = scope.spawn(|| bundle.runtime(&["exec", "--ignore-paused", &bundle.id, "echo", "here"]));
        std::thread::sleep(std::time::Duration::from_millis(500));
        assert!(!exec.is_finished());
        bundle.verb("resume").good();
        assert_eq!(exec.join().expect("exec").good(), "here\n");
    });
}

#[test]
fn a_pause_finds_nobody_halfway_in() {
    let bundle = running();
    std::thread::scope(|scope| {
        let execs = scope.spawn(|| {
            for _ in 0..40 {
                let exec = bundle.runtime(&["exec", &bundle.id, "true"]);
                assert!(exec.code == 0 || exec.err.contains("paused"), "{exec:?}");
            }
        });
        while !execs.is_finished() {
            bundle.verb("pause").good();
            bundle.verb("resume").good();
        }
        execs.join().expect("every exec ends");
    });
}

#[test]
fn a_created_container_can_be_paused_and_goes_on_as_one_that_is_created() {
    let bundle = Bundle::args(&["sleep", "100"]);
    bundle.create().good();
    bundle.verb("pause").good();
    assert!(!is_ours() || bundle.status() == "paused");
    if is_ours() {
        assert!(bundle.verb("start").bad().contains("is paused: cannot start"));
    }
    bundle.verb("resume").good();
    assert_eq!(bundle.status(), "created");
    bundle.verb("start").good();
    assert_eq!(bundle.status(), "running");
}

#[test]
fn a_user_with_a_slip_in_it_is_refused() {
    let bundle = running();
    for user in ["5:", "+5", "5:+0", ":5", "1:2:3", ""] {
        let exec = bundle.runtime(&["exec", "--user", user, &bundle.id, "true"]);
        assert!(!is_ours() || exec.code != 0, "{user}: {exec:?}");
    }
}

#[test]
fn a_paused_container_can_be_killed_and_deleted() {
    let bundle = running();
    bundle.verb("pause").good();
    if is_ours() {
        bundle.runtime(&["kill", &bundle.id, "KILL"]).good();
        bundle.wait();
        assert_eq!(bundle.status(), "stopped");
        bundle.verb("delete").good();
        bundle.create().good();
        bundle.verb("start").good();
        bundle.verb("pause").good();
    }
    bundle.runtime(&["delete", "--force", &bundle.id]).good();
    assert!(bundle.cgroups().is_empty());
}

#[test]
fn kill_all_reaches_every_process() {
    let bundle = running();
    bundle.runtime(&["exec", "--detach", &bundle.id, "sleep", "50"]).good();
    if is_ours() {
        let count = |text: String| serde_json::from_str::<Vec<i32>>(&text).expect("JSON").len();
        assert_eq!(count(bundle.runtime(&["ps", "-f", "json", &bundle.id]).good()), 2);
        bundle.runtime(&["kill", "--all", &bundle.id, "KILL"]).good();
        bundle.wait();
        assert!(
            bundle.runtime(&["kill", "--all", &bundle.id, "KILL"]).bad().contains("container not running")
        );
    }
}

//! When hooks run, where, with what, and what their failure means.

use crate::support::{Bundle, is_ours};
use serde_json::{Value, json};
use std::fs;
use std::path::Path;

/// A hook that appends its name, the status it is told, and its namespaces to a file of the host.
fn tracing(name: &str, log: &Path) -> Value {
    let script = format!(
        "state=$(cat); status=$(echo \"$state\" | tr -d ' \\n' | sed 's/.*\"status\":\"\\([a-z]*\\)\".*/\\1/'); \
         echo \"{name} $status $(readlink /proc/self/ns/uts) $ONLY\" >> {}",
        log.display()
    );
    json!([{"path": "/bin/sh", "args": ["sh", "-c", script], "env": ["PATH=/bin:/usr/bin", "ONLY=mine"], "timeout": 20}])
}

#[test]
fn hooks_run_in_order_in_their_namespaces_with_the_state_on_standard_input() {
    let bundle = Bundle::script("echo program >> /log/log");
    let log = bundle.path().join("log");
    fs::create_dir(&log).expect("mkdir");
    let file = log.join("log");
    let bundle = bundle.with(|config| {
        let source = json!({"destination": "/log", "type": "bind", "source": log, "options": ["bind"]});
        config["mounts"].as_array_mut().expect("mounts").push(source);
        config["hooks"] = json!({
            "prestart": tracing("prestart", &file),
            "createRuntime": tracing("createRuntime", &file),
            "createContainer": tracing("createContainer", &file),
            "startContainer": tracing("startContainer", Path::new("/log/log")),
            "poststart": tracing("poststart", &file),
            "poststop": tracing("poststop", &file),
        });
    });
    bundle.create().good();
    let lines =
        || fs::read_to_string(&file).unwrap_or_default().lines().map(str::to_owned).collect::<Vec<_>>();
    let before = lines();
    bundle.verb("start").good();
    bundle.wait();
    bundle.verb("delete").good();

    let host = fs::read_link("/proc/self/ns/uts").expect("namespace").to_string_lossy().into_owned();
    let names = |lines: &[String]| {
        lines.iter().map(|line| line.split(' ').next().unwrap_or("").to_owned()).collect::<Vec<_>>()
    };
    assert_eq!(names(&before), ["prestart", "createRuntime", "createContainer"]);
    let all = lines();
    let mut order = names(&all);
    // The program and the poststart hook run side by side.
    order[4..6].sort();
    assert_eq!(
        order,
        [
            "prestart",
            "createRuntime",
            "createContainer",
            "startContainer",
            "poststart",
            "program",
            "poststop"
        ]
    );
    for line in all.iter().filter(|line| *line != "program") {
        let fields: Vec<&str> = line.split(' ').collect();
        let in_container = ["createContainer", "startContainer"].contains(&fields[0]);
        assert_eq!(fields[2] != host, in_container, "{line}");
        assert_eq!(fields[3], "mine", "{line}");
        let status: &[&str] = match fields[0] {
            "prestart" | "createRuntime" | "createContainer" => &["creating", "created"],
            "startContainer" => &["created", "creating"],
            "poststart" => &["running"],
            _ => &["stopped"],
        };
        // crun tells its last hook nothing that can be relied on when the program is gone already.
        assert!(!is_ours() || status.contains(&fields[1]), "{line}");
    }
}

#[test]
fn every_hook_is_told_which_process_it_is_about() {
    // A promise of ours.
    if !is_ours() {
        return;
    }
    let mut bundle = Bundle::args(&["sleep", "100"]);
    let log = bundle.path().join("log");
    fs::create_dir(&log).expect("mkdir");
    let hook = |file: &Path| {
        let script = format!("tr -d ' \\n' | sed 's/.*\"pid\":\\([0-9]*\\).*/\\1\\n/' >> {}", file.display());
        json!([{"path": "/bin/sh", "args": ["sh", "-c", script], "env": ["PATH=/bin:/usr/bin"]}])
    };
    bundle.add_mount(json!({"destination": "/log", "type": "bind", "source": log, "options": ["bind"]}));
    let (outside, inside) = (hook(&log.join("pids")), hook(Path::new("/log/pids")));
    bundle.config()["hooks"] = json!({
        "prestart": outside, "createRuntime": outside, "createContainer": outside, "startContainer": inside,
        "poststart": outside,
    });
    bundle.create().good();
    bundle.verb("start").good();
    let told = fs::read_to_string(log.join("pids")).expect("pids");
    let told: Vec<i32> =
        told.lines().filter(|line| !line.is_empty()).map(|pid| pid.parse().expect("a pid")).collect();
    let host = bundle.pid();
    assert_eq!(told, [host, host, 1, 1, host], "those in the container's namespaces see it there");
}

#[test]
fn after_the_end_every_hook_runs_whatever_became_of_the_one_before() {
    let mut bundle = Bundle::args(&["true"]);
    let log = bundle.path().join("log");
    let hook = |script: &str| json!({"path": "/bin/sh", "args": ["sh", "-c", format!("echo {script} >> {}; exit 1", log.display())], "env": ["PATH=/bin:/usr/bin"]});
    bundle.config()["hooks"] = json!({"poststop": [hook("first"), hook("second")]});
    bundle.run();
    let told = fs::read_to_string(&log).expect("log");
    assert!(told == "first\nsecond\n" || !is_ours(), "{told}");
}

#[test]
fn hooks_before_the_root_is_entered_find_the_mounts_and_the_callers_mask() {
    let mut bundle = Bundle::args(&["true"]);
    let seen = bundle.path().join("seen");
    let see = |script: &str| json!([{"path": "/bin/sh", "args": ["sh", "-c", format!("{script} >> {}", seen.display())], "env": ["PATH=/bin:/usr/bin"]}]);
    let mounts = see(
        "pid=$(tr -d ' \\n' | sed 's/.*\"pid\":\\([0-9]*\\).*/\\1/'); grep -c rootfs/dev/shm /proc/$pid/mountinfo",
    );
    bundle.config()["hooks"] =
        json!({"prestart": mounts, "createRuntime": mounts, "createContainer": see("umask")});
    bundle.run().good();
    let umask = std::process::Command::new("sh").args(["-c", "umask"]).output().expect("sh").stdout;
    let seen = fs::read_to_string(seen).expect("seen");
    assert_eq!(seen, format!("1\n1\n{}", String::from_utf8_lossy(&umask)));
}

#[test]
fn a_hook_that_fails_before_the_program_runs_ends_the_container() {
    for moment in ["prestart", "createRuntime", "createContainer"] {
        let bundle = Bundle::args(&["true"]).with(|config| {
            let script = "echo because >&2; exit 3";
            config["hooks"] = json!({moment: [{"path": "/bin/sh", "args": ["sh", "-c", script]}]});
        });
        let error = bundle.create().bad();
        assert!(!is_ours() || error.contains(moment) && error.contains("because"), "{moment}: {error}");
        assert!(bundle.verb("state").code != 0, "{moment}");
        assert!(bundle.cgroups().is_empty(), "{moment}");
    }
}

#[test]
fn a_start_hook_that_fails_keeps_the_program_from_running() {
    let bundle = Bundle::script("echo ran").with(|config| {
        config["hooks"] = json!({"startContainer": [{"path": "/bin/sh", "args": ["sh", "-c", "exit 3"]}]});
    });
    bundle.create().good();
    let started = bundle.verb("start");
    if is_ours() {
        assert!(started.bad().contains("startContainer"));
        assert_eq!(bundle.status(), "stopped");
    }
    bundle.wait();
    assert_eq!(bundle.output(), "");
}

#[test]
fn hooks_of_the_host_begin_in_the_bundle() {
    let bundle = Bundle::args(&["true"]);
    let file = bundle.path().join("where");
    let script = format!("pwd >> {}", file.display());
    let hook = json!([{"path": "/bin/sh", "args": ["sh", "-c", script], "env": ["PATH=/bin:/usr/bin"]}]);
    let moments = ["prestart", "createRuntime", "poststart", "poststop"];
    let bundle =
        bundle.with(|config| moments.iter().for_each(|moment| config["hooks"][moment] = hook.clone()));
    bundle.run().good();
    let expected = format!("{}\n", bundle.bundle()).repeat(moments.len());
    assert_eq!(fs::read_to_string(&file).expect("read"), expected);
}

#[test]
fn a_run_that_fails_at_its_last_hooks_leaves_nothing() {
    for (moment, ran) in [("startContainer", false), ("poststart", true)] {
        let bundle = Bundle::script("echo ran >> /log/ran; sleep 100").with(|config| {
            let hook = json!([{"path": "/bin/sh", "args": ["sh", "-c", "sleep 0.5; exit 3"]}]);
            config["hooks"] = json!({moment: hook});
            config["linux"]["namespaces"].as_array_mut().expect("namespaces").remove(0);
        });
        let log = bundle.path().join("log");
        fs::create_dir(&log).expect("mkdir");
        let mount = json!({"destination": "/log", "type": "bind", "source": log, "options": ["bind"]});
        let bundle = bundle.with(|config| config["mounts"].as_array_mut().expect("mounts").push(mount));
        let error = bundle.runtime(&["run", "--detach", "--bundle", bundle.bundle(), &bundle.id]).bad();
        assert!(!is_ours() || error.contains(moment), "{moment}: {error}");
        assert_eq!(log.join("ran").exists(), ran, "{moment}");
        assert!(bundle.verb("state").code != 0, "{moment}");
        assert!(bundle.cgroups().is_empty(), "{moment}");
    }
}

#[test]
fn a_hook_that_takes_too_long_is_killed() {
    let bundle = Bundle::args(&["true"]).with(|config| {
        config["hooks"] =
            json!({"createRuntime": [{"path": "/bin/sleep", "args": ["sleep", "1000"], "timeout": 1}]});
    });
    let begin = std::time::Instant::now();
    bundle.create().bad();
    assert!(begin.elapsed() < std::time::Duration::from_secs(10));
}

#[test]
fn a_poststop_hook_that_fails_only_warns() {
    let bundle = Bundle::args(&["true"]).with(|config| {
        config["hooks"] = json!({"poststop": [{"path": "/bin/false"}]});
    });
    bundle.create().good();
    bundle.verb("start").good();
    bundle.wait();
    bundle.verb("delete").good();
    assert!(bundle.verb("state").code != 0);
}

#[test]
fn a_hook_does_not_inherit_the_environment_and_needs_an_absolute_path() {
    let bundle = Bundle::args(&["true"]);
    let file = bundle.path().join("env");
    let bundle = bundle.with(|config| {
        let script = format!("/usr/bin/env > {}", file.display());
        config["hooks"] =
            json!({"createRuntime": [{"path": "/bin/sh", "args": ["sh", "-c", script], "env": ["X=1"]}]});
    });
    let mut command = bundle.command();
    command.env("SECRET", "leaked").args(["create", "--bundle", bundle.bundle(), &bundle.id]);
    command.stdout(std::process::Stdio::null());
    assert!(command.status().expect("run").success());
    let seen = fs::read_to_string(&file).expect("the hook ran");
    assert!(seen.contains("X=1") && !seen.contains("SECRET"), "{seen}");

    let relative = Bundle::args(&["true"])
        .with(|config| config["hooks"] = json!({"createRuntime": [{"path": "bin/true"}]}));
    if is_ours() {
        assert!(relative.create().bad().contains("absolute"));
    }
}

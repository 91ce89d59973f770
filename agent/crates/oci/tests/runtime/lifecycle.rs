//! create, start, state, kill, delete, run, list.

use crate::support::{Bundle, is_ours};
use std::fs;

#[test]
fn a_container_is_created_started_killed_and_deleted() {
    let bundle = Bundle::script("echo started; exec sleep 100");
    bundle.create().good();
    let state = bundle.state();
    assert_eq!((state["status"].as_str(), state["id"].as_str()), (Some("created"), Some(bundle.id.as_str())));
    assert_eq!(state["bundle"].as_str(), Some(bundle.bundle()));
    assert!(state["pid"].as_i64() > Some(1), "{state}");
    assert_eq!(bundle.output(), "", "nothing runs before start");

    bundle.verb("start").good();
    assert_eq!(bundle.status(), "running");
    bundle.runtime(&["kill", &bundle.id, "KILL"]).good();
    bundle.wait();
    assert_eq!(bundle.status(), "stopped");
    assert_eq!(bundle.output(), "started\n");
    bundle.verb("delete").good();
    let error = bundle.verb("state").bad();
    assert!(!is_ours() || error.contains("does not exist"), "{error}");
}

#[test]
fn run_returns_the_code_of_the_program_or_128_plus_the_signal() {
    for (script, code) in [("exit 0", 0), ("exit 37", 37), ("exit 255", 255)] {
        let bundle = Bundle::script(script);
        assert_eq!(bundle.run().code, code, "{script}");
        assert!(bundle.verb("state").code != 0, "run deletes what it made");
    }
    // The first process of a pid namespace ignores signals from itself; this one is in the host's.
    let bundle = Bundle::script("kill -9 $$").with(|config| {
        let namespaces = config["linux"]["namespaces"].as_array_mut().expect("namespaces");
        namespaces.retain(|namespace| namespace["type"] != "pid");
    });
    assert_eq!(bundle.run().code, 137);
}

#[test]
fn run_passes_signals_on() {
    let bundle = Bundle::script("trap 'exit 9' TERM; echo ready; sleep 100 & wait");
    let output = bundle.path().join("output");
    let mut command = bundle.command();
    command
        .args(["run", "--bundle", bundle.bundle(), &bundle.id])
        .stdout(fs::File::create(&output).expect("file"));
    let mut runtime = command.spawn().expect("spawn");
    let deadline = std::time::Instant::now() + std::time::Duration::from_secs(20);
    while bundle.output() != "ready\n" {
        assert!(std::time::Instant::now() < deadline, "the program does not run");
        std::thread::yield_now();
    }
    let pid = nix::unistd::Pid::from_raw(i32::try_from(runtime.id()).expect("pid"));
    nix::sys::signal::kill(pid, nix::sys::signal::Signal::SIGTERM).expect("signal");
    assert_eq!(runtime.wait().expect("wait").code(), Some(9));
}

#[test]
fn what_is_being_made_in_the_foreground_can_be_given_up() {
    if !is_ours() {
        return;
    }
    let until = |is_so: &dyn Fn() -> bool| {
        let deadline = std::time::Instant::now() + std::time::Duration::from_secs(20);
        while !is_so() {
            assert!(std::time::Instant::now() < deadline, "it does not come so far");
            std::thread::sleep(std::time::Duration::from_millis(5));
        }
    };
    let give_up = |command: &mut std::process::Command, is_so: &dyn Fn() -> bool| {
        let mut runtime = command.spawn().expect("spawn");
        let status = format!("/proc/{}/status", runtime.id());
        let collects =
            || fs::read_to_string(&status).is_ok_and(|text| !text.contains("SigBlk:\t0000000000000000"));
        until(&collects);
        until(is_so);
        let pid = nix::unistd::Pid::from_raw(i32::try_from(runtime.id()).expect("pid"));
        nix::sys::signal::kill(pid, nix::sys::signal::Signal::SIGTERM).expect("signal");
        assert_eq!(runtime.wait().expect("wait").code(), Some(1));
    };
    let notes = tempfile::tempdir().expect("temporary directory");
    let (noted, blocked) = (notes.path().join("pid"), notes.path().join("mask"));
    let script = format!(
        "sleep 50 & echo $! > {}; grep SigBlk /proc/self/status > {}; sleep 51",
        noted.display(),
        blocked.display()
    );
    let bundle = Bundle::args(&["true"]).with(|config| {
        let hook = serde_json::json!({"path": "/bin/sh", "args": ["sh", "-c", script]});
        config["hooks"] = serde_json::json!({"createRuntime": [hook]});
    });
    let has_begun = || fs::metadata(&blocked).is_ok_and(|found| found.len() > 0);
    give_up(bundle.command().args(["run", "--bundle", bundle.bundle(), &bundle.id]), &has_begun);
    assert!(bundle.cgroups().is_empty());
    assert!(bundle.verb("state").bad().contains("does not exist"));
    assert!(fs::read_to_string(&blocked).expect("mask").trim_end().ends_with("0000000000000000"));
    let left: i32 = fs::read_to_string(&noted).expect("pid").trim().parse().expect("a number");
    assert_eq!(edgelet_sys::process::start_time(left).expect("stat"), None);

    let bundle = Bundle::args(&["sleep", "100"]);
    bundle.create().good();
    bundle.verb("start").good();
    bundle.verb("pause").good();
    // A suspended process of version 1 dies only when it goes on.
    std::thread::scope(|scope| {
        scope.spawn(|| {
            give_up(bundle.command().args(["exec", "--ignore-paused", &bundle.id, "true"]), &|| true);
        });
        std::thread::sleep(std::time::Duration::from_secs(1));
        bundle.verb("resume").good();
    });
    assert_eq!(bundle.status(), "running");
}

#[test]
fn a_program_that_ends_at_once_never_hangs_run() {
    let bundle = Bundle::args(&["true"]);
    for _ in 0..25 {
        bundle.run().good();
    }
}

/// "This property is REQUIRED when start is called" (OCI runtime-spec 1.3, config.md, "Process").
#[test]
fn a_container_without_a_process_can_be_created_and_not_be_started() {
    let bundle = Bundle::args(&["true"]).with(|config| {
        config.as_object_mut().expect("an object").remove("process");
    });
    bundle.create().good();
    assert_eq!(bundle.status(), "created");
    let error = bundle.verb("start").bad();
    if is_ours() {
        assert!(error.contains("there is no process"), "{error}");
        assert_eq!(bundle.status(), "created");
    }
    bundle.runtime(&["delete", "--force", &bundle.id]).good();
    bundle.run().bad();
    assert!(bundle.cgroups().is_empty());
}

#[test]
fn verbs_in_the_wrong_state_fail_and_change_nothing() {
    let bundle = Bundle::args(&["sleep", "100"]);
    bundle.create().good();
    assert!(bundle.create().code != 0, "the id is taken");
    assert_eq!(bundle.status(), "created");
    bundle.verb("start").good();
    assert!(bundle.verb("start").code != 0, "start of a running container");
    assert!(bundle.verb("delete").code != 0, "delete of a running container");
    assert_eq!(bundle.status(), "running");
    bundle.runtime(&["kill", &bundle.id, "9"]).good();
    bundle.wait();
    let error = bundle.runtime(&["kill", &bundle.id, "TERM"]).bad();
    if is_ours() {
        assert!(error.contains("container not running"), "{error}");
    }
    assert!(bundle.verb("start").code != 0, "start of a stopped container");
    bundle.verb("delete").good();
}

#[test]
fn a_created_container_can_be_deleted_and_an_unknown_one_with_force() {
    let bundle = Bundle::args(&["sleep", "100"]);
    bundle.create().good();
    let pid = bundle.pid();
    // runc wants --force for a created container; everybody accepts it.
    let words: &[&str] = if is_ours() { &["delete", &bundle.id] } else { &["delete", "--force", &bundle.id] };
    bundle.runtime(words).good();
    assert_eq!(edgelet_sys::process::start_time(pid).ok().flatten(), None, "init is gone");
    bundle.runtime(&["delete", "--force", &bundle.id]).good();
    if is_ours() {
        assert!(bundle.verb("delete").bad().contains("container does not exist"));
        assert!(bundle.verb("start").bad().contains("container does not exist"));
        assert!(bundle.runtime(&["kill", &bundle.id, "9"]).bad().contains("container does not exist"));
    }
}

#[test]
fn delete_leaves_nothing() {
    let bundle = Bundle::script("mkdir /made 2>/dev/null; sleep 100 & exec sleep 100");
    let mounts =
        || fs::read_to_string("/proc/self/mountinfo").expect("mountinfo").matches(bundle.bundle()).count();
    bundle.create().good();
    assert!(!bundle.cgroups().is_empty(), "it has control groups");
    bundle.verb("start").good();
    bundle.runtime(&["delete", "--force", &bundle.id]).good();
    assert_eq!(bundle.cgroups(), Vec::<std::path::PathBuf>::new());
    assert_eq!(mounts(), 0);
    assert_eq!(fs::read_dir(bundle.state_root()).expect("state root").count(), 0);
}

#[test]
fn a_failed_create_leaves_nothing_and_can_be_repeated() {
    let mut bundle = Bundle::args(&["no-such-program"]);
    let error = bundle.create().bad();
    assert!(!is_ours() || error.contains("executable file not found"), "{error}");
    let failures: [fn(&mut serde_json::Value); 4] = [
        |config| config["process"]["args"] = serde_json::json!(["/proc/self/status"]),
        |config| config["mounts"][5]["type"] = "no-such-filesystem".into(),
        |config| config["linux"]["namespaces"][4]["path"] = "/proc/self/ns/uts".into(),
        |config| config["hooks"] = serde_json::json!({"createRuntime": [{"path": "/bin/false"}]}),
    ];
    for fail in failures {
        let good = bundle.config().clone();
        fail(bundle.config());
        bundle.create().bad();
        assert_eq!(bundle.cgroups(), Vec::<std::path::PathBuf>::new());
        assert!(bundle.verb("state").code != 0);
        let left = fs::read_dir(bundle.state_root()).map_or(0, Iterator::count);
        assert_eq!(left, 0, "state is left after {}", bundle.config());
        *bundle.config() = good;
    }
    bundle.config()["process"]["args"] = serde_json::json!(["true"]);
    bundle.create().good();
    bundle.verb("start").good();
}

#[test]
fn options_stand_on_either_side_of_the_id() {
    let bundle = Bundle::args(&["sleep", "100"]);
    let pid_file = bundle.path().join("pid");
    let pid_file_text = pid_file.to_str().expect("a plain path");
    if is_ours() {
        bundle
            .runtime(&["create", &bundle.id, "--bundle", bundle.bundle(), "--pid-file", pid_file_text])
            .good();
        assert_eq!(fs::read_to_string(&pid_file).expect("pid file"), bundle.pid().to_string());
        bundle.runtime(&["delete", &bundle.id, "--force"]).good();
    }
    bundle.runtime(&["create", "--pid-file", pid_file_text, "--bundle", bundle.bundle(), &bundle.id]).good();
    assert_eq!(fs::read_to_string(&pid_file).expect("pid file"), bundle.pid().to_string());
}

#[test]
fn later_edits_of_the_configuration_have_no_effect() {
    let mut bundle = Bundle::script("echo first");
    bundle.create().good();
    bundle.config()["process"]["args"] = serde_json::json!(["echo", "second"]);
    bundle.verb("start").good();
    bundle.wait();
    assert_eq!(bundle.output(), "first\n");
}

#[test]
fn list_shows_every_container_as_json() {
    let bundle = Bundle::args(&["sleep", "100"]);
    bundle.create().good();
    let list: serde_json::Value =
        serde_json::from_str(&bundle.runtime(&["list", "--format", "json"]).good()).expect("JSON");
    assert_eq!(list[0]["id"].as_str(), Some(bundle.id.as_str()));
    assert_eq!(list[0]["status"].as_str(), Some("created"));
    assert_eq!(bundle.runtime(&["list", "--quiet"]).good(), format!("{}\n", bundle.id));
}

#[test]
fn a_json_log_carries_the_reason_of_a_failure() {
    let bundle = Bundle::args(&["no-such-program"]);
    let log = bundle.path().join("log");
    let mut command = bundle.command();
    command.arg("--log").arg(&log).args([
        "--log-format",
        "json",
        "create",
        "--bundle",
        bundle.bundle(),
        &bundle.id,
    ]);
    assert!(!command.output().expect("run").status.success());
    let text = fs::read_to_string(&log).expect("log");
    let last: serde_json::Value = serde_json::from_str(text.lines().last().expect("a line")).expect("JSON");
    assert!(last["msg"].as_str().is_some_and(|msg| msg.contains("executable file")), "{last}");
}

#[test]
fn an_interrupted_create_is_cleared_by_the_next_one() {
    if !is_ours() {
        return;
    }
    // A hook that never ends holds the creator in the middle of its work.
    let mut bundle = Bundle::args(&["true"]);
    let reached = bundle.path().join("reached");
    let script = format!("echo > {}; exec sleep 1000", reached.display());
    bundle.config()["hooks"] =
        serde_json::json!({"createRuntime": [{"path": "/bin/sh", "args": ["sh", "-c", script]}]});
    let mut command = bundle.command();
    command.args(["create", "--bundle", bundle.bundle(), &bundle.id]);
    std::os::unix::process::CommandExt::process_group(&mut command, 0);
    let mut creator = command
        .stdout(std::process::Stdio::null())
        .stderr(std::process::Stdio::null())
        .spawn()
        .expect("spawn");
    let deadline = std::time::Instant::now() + std::time::Duration::from_secs(20);
    while !reached.exists() {
        assert!(std::time::Instant::now() < deadline, "the hook does not run");
        std::thread::yield_now();
    }
    assert_eq!(bundle.status(), "creating");
    let group = nix::unistd::Pid::from_raw(-i32::try_from(creator.id()).expect("pid"));
    nix::sys::signal::kill(group, nix::sys::signal::Signal::SIGKILL).expect("kill the creator and its hook");
    creator.wait().expect("wait");
    // The new process notices that its creator is gone, and ends.
    while bundle.status() != "stopped" {
        assert!(std::time::Instant::now() < deadline, "the new process outlives its creator");
    }

    bundle.config()["hooks"] = serde_json::json!({});
    bundle.create().good();
    bundle.verb("start").good();
}

#[test]
fn version_features_and_help_need_no_container() {
    if !is_ours() {
        return;
    }
    let bundle = Bundle::args(&["true"]);
    assert!(bundle.runtime(&["--version"]).good().starts_with("edgelet-oci version "));
    assert!(bundle.runtime(&["--help"]).good().contains("create"));
    let features: serde_json::Value =
        serde_json::from_str(&bundle.runtime(&["features"]).good()).expect("JSON");
    assert_eq!(features["linux"]["seccomp"]["enabled"].as_bool(), Some(true));
    for refused in ["checkpoint", "magic"] {
        assert!(bundle.runtime(&[refused, "x"]).bad().contains(refused), "{refused}");
    }
}

/// A kernel that lacks the newer calls, played by a filter around the runtime: it must manage with what
/// Linux 5.10 has.
#[test]
fn a_configuration_to_start_from_is_one_that_runs() {
    let bundle = Bundle::args(&["true"]);
    let fresh = bundle.path().join("fresh");
    fs::create_dir(&fresh).expect("mkdir");
    let words = ["spec", "--bundle", fresh.to_str().expect("plain")];
    bundle.runtime(&words).good();
    let text = fs::read_to_string(fresh.join("config.json")).expect("config.json");
    let bundle = bundle.with(|config| {
        *config = serde_json::from_str(&text).expect("JSON");
        config["process"]["terminal"] = false.into();
        config["process"]["args"] = serde_json::json!(["/bin/sh", "-c", "echo it runs"]);
    });
    assert_eq!(bundle.run().good(), "it runs\n");
    if is_ours() {
        assert!(bundle.runtime(&words).bad().contains("exists"), "what is there is not overwritten");
    }
}

#[test]
fn an_older_kernel_is_served_by_fallbacks() {
    if !is_ours() {
        return;
    }
    let inner =
        Bundle::script("cat /secret | wc -c; touch /x 2>/dev/null || echo refused; ls /proc/self/fd | wc -l")
            .with(|config| {
                config["root"]["readonly"] = true.into();
                config["linux"]["maskedPaths"] = serde_json::json!(["/secret"]);
                config["linux"].as_object_mut().expect("linux").remove("resources");
            });
    fs::write(inner.inside("secret"), "secret").expect("write");
    for name in ["proc", "sys", "dev"] {
        fs::create_dir(inner.inside(name)).expect("mkdir");
    }
    let run = inner.command();
    let words =
        [run.get_program()].into_iter().chain(run.get_args()).map(|word| word.to_str().expect("plain"));
    let words: Vec<&str> = words.chain(["run", "--bundle", inner.bundle(), &inner.id]).collect();
    let all: Vec<String> = caps::all().iter().map(ToString::to_string).collect();
    let outer = Bundle::args(&words).with(|config| {
        config["process"]["capabilities"] = serde_json::json!({"bounding": all, "effective": all, "permitted": all});
        config["process"]["noNewPrivileges"] = false.into();
        config["root"]["path"] = "/".into();
        config["hostname"] = "".into();
        config["mounts"] = serde_json::json!([{"destination": "/dev", "source": "/dev", "type": "bind", "options": ["rbind"]}]);
        config["linux"] = serde_json::json!({
            "cgroupsPath": config["linux"]["cgroupsPath"],
            "namespaces": [{"type": "mount"}],
            "seccomp": {
                "defaultAction": "SCMP_ACT_ALLOW",
                "syscalls": [{
                    "names": ["mount_setattr", "clone3", "close_range"], "action": "SCMP_ACT_ERRNO", "errnoRet": libc::ENOSYS,
                }],
            },
        });
    });
    let finished = outer.run();
    assert_eq!(finished.out, "0\nrefused\n4\n", "{finished:?}");
}

#[test]
fn a_record_of_another_version_is_never_overwritten() {
    if !is_ours() {
        return;
    }
    let bundle = Bundle::args(&["sleep", "100"]);
    bundle.create().good();
    let file = bundle.state_root().join(&bundle.id).join("state.json");
    let text = fs::read_to_string(&file).expect("state");
    let newer = text.replace("\"version\":1,", "\"version\":2,");
    assert_ne!(newer, text);
    fs::write(&file, &newer).expect("write");
    assert!(bundle.verb("state").bad().contains("version 2"));
    bundle.create().bad();
    assert_eq!(fs::read_to_string(&file).expect("state"), newer);
    fs::write(&file, &text).expect("write");
    assert_eq!(bundle.status(), "created");

    // What is known of it is enough to end it, and without anything known it is not forgotten.
    let pid = bundle.pid();
    for text in ["{}", ""] {
        fs::write(&file, text).expect("write");
        let config = file.with_file_name("config.json");
        let kept = fs::read(&config).expect("read");
        fs::write(&config, "{}").expect("write");
        bundle.runtime(&["delete", "--force", &bundle.id]).bad();
        assert!(edgelet_sys::process::start_time(pid).expect("stat").is_some());
        fs::write(&config, kept).expect("write");
    }
    bundle.runtime(&["delete", "--force", &bundle.id]).good();
    assert_eq!(edgelet_sys::process::start_time(pid).expect("stat"), None);
    assert!(bundle.cgroups().is_empty());
}

#[test]
fn what_is_left_of_a_record_says_who_ends_and_who_does_not() {
    if !is_ours() {
        return;
    }
    let bundle = Bundle::args(&["sleep", "100"]);
    bundle
        .runtime(&["--cgroup-manager", "disabled", "create", "--bundle", bundle.bundle(), &bundle.id])
        .good();
    let pid = bundle.pid();
    let file = bundle.state_root().join(&bundle.id).join("state.json");
    let text = fs::read_to_string(&file).expect("state").replace("\"version\":1,", "\"version\":2,");
    fs::write(&file, text).expect("write");
    // In the group that it would have had, were it not for the option, is somebody else's.
    let neighbour = Bundle::args(&["sleep", "100"])
        .with(|config| config["linux"]["cgroupsPath"] = format!("/{}", bundle.id).into());
    neighbour.create().good();
    bundle.runtime(&["delete", "--force", &bundle.id]).good();
    assert_eq!(edgelet_sys::process::start_time(pid).expect("stat"), None);
    assert_eq!(neighbour.status(), "created");

    // The group is the default one, and all that is left is a configuration that does not say so.
    let bundle = Bundle::args(&["sleep", "100"])
        .with(|config| config["linux"]["cgroupsPath"] = serde_json::Value::Null);
    bundle.create().good();
    let pid = bundle.pid();
    fs::write(bundle.state_root().join(&bundle.id).join("state.json"), "{").expect("write");
    bundle.runtime(&["delete", "--force", &bundle.id]).good();
    assert_eq!(edgelet_sys::process::start_time(pid).expect("stat"), None);
}

//! Containers of users who are not root.

use crate::support::{Bundle, is_ours};
use serde_json::json;
use std::fs;
use std::os::unix::fs::MetadataExt;
use std::process::Command;

/// daemon: it is in every `/etc/passwd`, and nothing on the machine is its own.
const USER: u32 = 1;

#[test]
fn a_user_runs_a_container_and_is_root_there() {
    let mut bundle = Bundle::script(
        "id -u; id -g; cat /proc/self/uid_map | tr -s ' '; hostname; touch /volume/made; exit 3",
    )
    .rootless(USER);
    let volume = bundle.path().join("volume");
    fs::create_dir(&volume).expect("mkdir");
    std::os::unix::fs::chown(&volume, Some(USER), Some(USER)).expect("chown");
    bundle
        .add_mount(json!({"destination": "/volume", "type": "bind", "source": volume, "options": ["rbind"]}));
    let run = bundle.run();
    assert_eq!((run.out.as_str(), run.code), ("0\n0\n 0 1 1\nbox\n", 3), "{run:?}");
    let made = fs::metadata(volume.join("made")).expect("made");
    assert_eq!((made.uid(), made.gid()), (USER, USER));
}

#[test]
fn every_verb_but_those_of_groups_works_for_a_user() {
    let bundle = Bundle::args(&["sleep", "1000"]).rootless(USER);
    bundle.create().good();
    assert_eq!(bundle.status(), "created");
    assert_eq!(bundle.runtime(&["exec", &bundle.id, "echo", "early"]).good(), "early\n");
    bundle.verb("start").good();
    assert_eq!(bundle.status(), "running");
    let exec = bundle.runtime(&["exec", &bundle.id, "sh", "-c", "id -u; hostname; cat /proc/1/comm"]);
    assert_eq!(exec.good(), "0\nbox\nsleep\n");
    if is_ours() {
        for verb in ["ps", "pause"] {
            assert!(bundle.verb(verb).bad().contains("has none, as its creator wanted"));
        }
        assert!(bundle.cgroups().is_empty());
    }
    bundle.runtime(&["kill", &bundle.id, "KILL"]).good();
    bundle.wait();
    assert_eq!(bundle.status(), "stopped");
    bundle.verb("delete").good();
}

#[test]
fn the_processes_of_a_user_have_their_rank() {
    let bundle = Bundle::args(&["sleep", "1000"]).rootless(USER).with(|config| {
        config["process"]["oomScoreAdj"] = json!(500);
    });
    bundle.create().good();
    bundle.verb("start").good();
    let score = |pid: i32| fs::read_to_string(format!("/proc/{pid}/oom_score_adj")).expect("score");
    assert_eq!(score(bundle.pid()), "500\n");
    let exec = bundle.runtime(&["exec", &bundle.id, "cat", "/proc/self/oom_score_adj"]);
    assert_eq!(exec.good(), "500\n");
}

#[test]
fn limits_that_a_user_may_not_set_are_refused() {
    if !is_ours() {
        return;
    }
    let bundle = Bundle::args(&["true"]).rootless(USER).with(|config| {
        config["linux"]["resources"]["pids"] = json!({"limit": 10});
    });
    assert!(bundle.create().bad().contains("there is no pids controller here"));
}

#[test]
fn who_is_not_mapped_to_root_is_the_user_that_is_mapped() {
    let bundle = Bundle::script("id -u; id -g").rootless(USER).with(|config| {
        for field in ["uidMappings", "gidMappings"] {
            config["linux"][field][0]["containerID"] = json!(1000);
        }
        config["process"]["user"] = json!({"uid": 1000, "gid": 1000});
    });
    assert_eq!(bundle.run().good(), "1000\n1000\n");
}

#[test]
fn groups_cannot_be_had_where_they_cannot_be_left() {
    let with_groups = |groups| {
        let bundle = Bundle::script("id -G").rootless(USER);
        bundle.with(|config| config["process"]["user"]["additionalGids"] = groups).run()
    };
    assert_eq!(with_groups(json!([])).good(), "0\n");
    assert!(with_groups(json!([5])).bad().contains("set groups [5]"));
}

#[test]
fn further_ids_are_mapped_by_the_programs_for_that() {
    let mut bundle = Bundle::script("id -u; stat -c %u /theirs; touch /made; sleep 0").rootless(USER);
    let further = json!({"containerID": 1, "hostID": 300_000, "size": 1000});
    for field in ["uidMappings", "gidMappings"] {
        bundle.config()["linux"][field].as_array_mut().expect("mappings").push(further.clone());
    }
    fs::write(bundle.inside("theirs"), "").expect("write");
    std::os::unix::fs::chown(bundle.inside("theirs"), Some(300_006), Some(300_006)).expect("chown");
    // Who may map what is in files of the whole machine, which this test covers for itself alone.
    let allowed = bundle.path().join("allowed");
    fs::write(&allowed, "daemon:300000:1000\n").expect("write");
    let script = "for file in /etc/subuid /etc/subgid; do mount --bind \"$ALLOWED\" $file; done
        exec setpriv --reuid 1 --regid 1 --clear-groups \"$@\"";
    let run = bundle.command();
    let mut command = Command::new("unshare");
    command.args(["--mount", "sh", "-c", script, "sh"]).arg(run.get_program()).args(run.get_args());
    command.args(["run", "--bundle", bundle.bundle(), &bundle.id]).env("ALLOWED", allowed);
    let output = command.output().expect("unshare");
    assert_eq!(String::from_utf8_lossy(&output.stdout), "0\n7\n", "{output:?}");
    // Without a line for them they may not be mapped, and whoever says so is quoted.
    let refused = bundle.run().bad();
    assert!(refused.contains("have newuidmap map 0 1 1, 1 300000 1000"), "{refused}");
}

#[test]
fn root_of_a_user_namespace_is_served_like_root_as_far_as_it_goes() {
    // As an engine does it for its users: all of the runtime's life is in there.
    let mut bundle = Bundle::script("id -u; stat -c %t:%T /dev/null; echo >/dev/null; hostname");
    bundle.give_to(USER);
    let run = bundle.command();
    let mut command = Command::new("setpriv");
    command.args([
        "--reuid",
        "1",
        "--regid",
        "1",
        "--clear-groups",
        "unshare",
        "--user",
        "--map-root-user",
        "--mount",
    ]);
    command.arg(run.get_program()).args(run.get_args()).args([
        "run",
        "--bundle",
        bundle.bundle(),
        &bundle.id,
    ]);
    let output = command.output().expect("setpriv");
    assert_eq!(String::from_utf8_lossy(&output.stdout), "0\n1:3\nbox\n", "{output:?}");
}

//! The program: who it is, what it may do, what it inherits.

use crate::support::{Bundle, is_ours};
use serde_json::json;

/// The lines of `/proc/self/status` that begin with these words, as `name=value`.
fn status(bundle: &Bundle) -> std::collections::BTreeMap<String, String> {
    let out = bundle.run().good();
    let pairs = out.lines().filter_map(|line| line.split_once(':'));
    pairs.map(|(name, value)| (name.to_owned(), value.trim().to_owned())).collect()
}

fn bit(number: u32) -> u64 {
    1 << number
}

const CHOWN: u32 = 0;
const NET_BIND_SERVICE: u32 = 10;
const NET_RAW: u32 = 13;

#[test]
fn each_capability_set_is_exactly_what_is_asked_for() {
    let bundle = Bundle::args(&["cat", "/proc/self/status"]).with(|config| {
        config["process"]["capabilities"] = json!({
            "bounding": ["CAP_CHOWN", "CAP_NET_BIND_SERVICE", "CAP_NET_RAW"],
            "permitted": ["CAP_CHOWN", "CAP_NET_BIND_SERVICE"],
            "effective": ["CAP_CHOWN"],
            "inheritable": ["CAP_NET_BIND_SERVICE"],
            "ambient": ["CAP_NET_BIND_SERVICE"],
        });
        config["process"]["user"] = json!({"uid": 1000, "gid": 1000});
    });
    let status = status(&bundle);
    let set = |name: &str| u64::from_str_radix(&status[name], 16).expect(name);
    assert_eq!(set("CapBnd"), bit(CHOWN) | bit(NET_BIND_SERVICE) | bit(NET_RAW));
    assert_eq!(set("CapInh"), bit(NET_BIND_SERVICE));
    // What a user other than root keeps across exec is the ambient set.
    assert_eq!(set("CapAmb"), bit(NET_BIND_SERVICE));
    assert_eq!(set("CapPrm"), bit(NET_BIND_SERVICE));
    assert_eq!(set("CapEff"), bit(NET_BIND_SERVICE));
}

#[test]
fn without_capabilities_even_root_has_none_and_nothing_is_inheritable() {
    let bundle = Bundle::args(&["cat", "/proc/self/status"]).with(|config| {
        config["process"].as_object_mut().expect("process").remove("capabilities");
    });
    let status = status(&bundle);
    for name in ["CapBnd", "CapInh", "CapAmb", "CapPrm", "CapEff"] {
        assert_eq!(u64::from_str_radix(&status[name], 16), Ok(0), "{name}");
    }
}

#[test]
fn unknown_and_ungrantable_capabilities_do_not_fail() {
    if !is_ours() {
        return; // Since version 1.1 of the specification.
    }
    let bundle = Bundle::args(&["cat", "/proc/self/status"]).with(|config| {
        let names = json!(["CAP_CHOWN", "CAP_TOMORROW", "CAP_NET_RAW"]);
        config["process"]["capabilities"] =
            json!({"bounding": ["CAP_CHOWN"], "permitted": names, "effective": names});
    });
    assert_eq!(u64::from_str_radix(&status(&bundle)["CapEff"], 16), Ok(bit(CHOWN)));
}

#[test]
fn user_group_and_additional_groups_are_set_and_the_callers_are_gone() {
    let bundle = Bundle::script("id -u; id -g; id -G; grep Groups /proc/self/status").with(|config| {
        config["process"]["user"] = json!({"uid": 1000, "gid": 1001, "additionalGids": [7, 8]});
    });
    let out = bundle.run().good();
    assert!(out.starts_with("1000\n1001\n1001 7 8\n"), "{out}");
    let out = Bundle::script("grep Groups /proc/self/status").run().good();
    assert!(["Groups:", "Groups: 0"].contains(&out.replace('\t', " ").trim()), "{out:?}");
}

#[test]
fn umask_and_environment_are_as_given() {
    let bundle = Bundle::script("umask; echo $A-$B-$HOME").with(|config| {
        config["process"]["user"]["umask"] = 0o027.into();
        config["process"]["env"] = json!(["PATH=/bin", "A=1", "B=two words"]);
    });
    std::fs::create_dir(bundle.inside("etc")).expect("mkdir");
    std::fs::write(bundle.inside("etc/passwd"), "root:x:0:0::/somewhere:/bin/sh\n").expect("write");
    let out = bundle.run().good();
    assert_eq!(out, "0027\n1-two words-/somewhere\n");
}

#[test]
fn limits_are_lowered_and_what_may_not_be_raised_is_a_clear_error() {
    let limit = |kind: &'static str, soft: u64, hard: u64| {
        move |config: &mut serde_json::Value| {
            config["process"]["rlimits"] = json!([{"type": kind, "soft": soft, "hard": hard}]);
        }
    };
    let bundle = Bundle::script("ulimit -Sn; ulimit -Hn").with(limit("RLIMIT_NOFILE", 100, 200));
    assert_eq!(bundle.run().good(), "100\n200\n");
    let own = nix::sys::resource::getrlimit(nix::sys::resource::Resource::RLIMIT_MSGQUEUE).expect("limit").1;
    let may_raise =
        caps::has_cap(None, caps::CapSet::Effective, caps::Capability::CAP_SYS_RESOURCE).expect("capability");
    if !may_raise && own < u64::MAX {
        let error = Bundle::args(&["true"]).with(limit("RLIMIT_MSGQUEUE", own + 1, own + 1)).run().bad();
        assert!(!is_ours() || error.contains("RLIMIT_MSGQUEUE"), "{error}");
    }
    Bundle::args(&["true"]).with(limit("RLIMIT_MAGIC", 1, 1)).run().bad();
}

#[test]
fn a_filter_that_forbids_everything_ends_in_an_error_and_not_in_a_loop() {
    if !is_ours() {
        return;
    }
    for allowed in [json!([]), json!(["write"])] {
        let bundle = Bundle::script("echo fine").with(|config| {
            config["linux"]["seccomp"] = json!({
                "defaultAction": "SCMP_ACT_ERRNO",
                "syscalls": [{"names": allowed, "action": "SCMP_ACT_ALLOW"}]});
        });
        bundle.create().good();
        let error = bundle.verb("start").bad();
        let how = if allowed == json!([]) { "ended before its program" } else { "cannot be executed" };
        assert!(error.contains(how), "{error}");
        assert_eq!(bundle.status(), "stopped");
    }
}

#[test]
fn a_filter_may_forbid_to_look_where_one_is() {
    let bundle = Bundle::script("echo fine").with(|config| {
        config["process"]["noNewPrivileges"] = json!(false);
        config["linux"]["seccomp"] = json!({
            "defaultAction": "SCMP_ACT_ALLOW",
            "syscalls": [{"names": ["getcwd"], "action": "SCMP_ACT_ERRNO"}]});
    });
    assert_eq!(bundle.run().out, "fine\n");
}

#[test]
fn no_new_privileges_is_set_only_when_asked_for() {
    for (wanted, shown) in [(true, "1"), (false, "0")] {
        let bundle = Bundle::args(&["cat", "/proc/self/status"])
            .with(|config| config["process"]["noNewPrivileges"] = wanted.into());
        assert_eq!(status(&bundle)["NoNewPrivs"], shown);
    }
}

#[test]
fn the_out_of_memory_score_is_set_when_given_and_else_untouched() {
    let bundle = Bundle::args(&["cat", "/proc/self/oom_score_adj"])
        .with(|config| config["process"]["oomScoreAdj"] = 321.into());
    assert_eq!(bundle.run().good(), "321\n");
    let own = std::fs::read_to_string("/proc/self/oom_score_adj").expect("score");
    assert_eq!(Bundle::args(&["cat", "/proc/self/oom_score_adj"]).run().good(), own);
}

#[test]
fn the_working_directory_is_made_when_missing() {
    let bundle = Bundle::args(&["pwd"]).with(|config| config["process"]["cwd"] = "/a/b/c".into());
    assert_eq!(bundle.run().good(), "/a/b/c\n");
}

#[test]
fn a_filter_refuses_what_it_names_with_and_without_no_new_privileges() {
    for no_new_privileges in [true, false] {
        let script =
            "mkdir /dev/shm/a 2>&1; chmod 700 /dev/shm && echo allowed; grep Seccomp: /proc/self/status";
        let bundle = Bundle::script(script).with(|config| {
            config["process"]["noNewPrivileges"] = no_new_privileges.into();
            config["linux"]["seccomp"] = json!({
                "defaultAction": "SCMP_ACT_ALLOW",
                "syscalls": [{"names": ["mkdir", "mkdirat"], "action": "SCMP_ACT_ERRNO", "errnoRet": 77}],
            });
        });
        let out = bundle.run().good();
        assert!(out.contains("File descriptor in bad state"), "errno 77: {out}");
        assert!(out.contains("allowed\nSeccomp:\t2\n"), "{out}");
    }
}

#[test]
fn the_default_profile_lets_a_shell_work_and_refuses_mounts() {
    let profile = edgelet_oci::default_seccomp_profile(&edgelet_oci::spec::Capabilities::new());
    let bundle = Bundle::script(
        "ls / | wc -l; echo $(echo sub); mount -t tmpfs x /dev/shm 2>&1 | grep -ci 'denied'; id -u",
    )
    .with(|config| config["linux"]["seccomp"] = serde_json::to_value(profile).expect("profile"));
    let out = bundle.run().good();
    assert!(out.ends_with("sub\n1\n0\n"), "{out}");
}

#[test]
fn signals_and_mask_are_the_defaults() {
    let bundle = Bundle::args(&["cat", "/proc/self/status"]);
    let status = status(&bundle);
    for name in ["SigBlk", "SigIgn"] {
        assert_eq!(u64::from_str_radix(&status[name], 16), Ok(0), "{name}");
    }
}

#[test]
fn errors_of_the_program_have_the_words_that_engines_know() {
    let bundle = Bundle::args(&["/not/there"]);
    let error = bundle.run().bad();
    assert!(!is_ours() || error.contains("executable file not found"), "{error}");
    let bundle = Bundle::args(&["/plain"]);
    std::fs::write(bundle.inside("plain"), "no program").expect("write");
    let error = bundle.run().bad();
    assert!(error.to_lowercase().contains("permission denied"), "{error}");
}

#[test]
fn a_user_can_reopen_a_pipe_that_is_its_output_by_name() {
    let bundle = Bundle::script("echo out > /dev/stdout; echo err > /dev/stderr").with(|config| {
        config["process"]["user"] = json!({"uid": 1000, "gid": 1000});
    });
    let mut command = bundle.command();
    let output = command.args(["run", "--bundle", bundle.bundle(), &bundle.id]).output().expect("run");
    assert_eq!(String::from_utf8_lossy(&output.stdout), "out\n");
    assert_eq!(String::from_utf8_lossy(&output.stderr), "err\n");
}

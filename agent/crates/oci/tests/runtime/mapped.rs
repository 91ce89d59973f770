//! Owners of files, seen through mappings.

use crate::apart;
use crate::support::{Bundle, is_ours};
use serde_json::{Value, json};
use std::fs;
use std::os::unix::fs::{MetadataExt, chown};
use std::path::{Path, PathBuf};
use std::process::Command;

/// A directory of the host with a file in it, both of one owner.
fn shared(bundle: &Bundle, uid: u32, gid: u32) -> PathBuf {
    let shared = bundle.path().join("shared");
    fs::create_dir(&shared).expect("mkdir");
    fs::write(shared.join("file"), "content\n").expect("write");
    for path in [&shared, &shared.join("file")] {
        chown(path, Some(uid), Some(gid)).expect("chown");
    }
    shared
}

fn bound(source: &Path, options: &[&str]) -> Value {
    json!({"destination": "/mapped", "type": "bind", "source": source, "options": options})
}

#[test]
fn a_bound_directory_shows_other_owners_and_takes_files_for_them() {
    let mapping = |on_disk: u32, shown: u32| json!([{"containerID": on_disk, "hostID": shown, "size": 1}]);
    let mut bundle = Bundle::script("stat -c %u:%g /mapped/file; touch /mapped/made");
    let shared = shared(&bundle, 1000, 1001);
    let mut mount = bound(&shared, &["bind", "idmap"]);
    mount["uidMappings"] = mapping(1000, 0);
    mount["gidMappings"] = mapping(1001, 0);
    bundle.add_mount(mount);
    assert_eq!(bundle.run().good(), "0:0\n");
    let made = fs::metadata(shared.join("made")).expect("made");
    assert_eq!((made.uid(), made.gid()), (1000, 1001));
}

#[test]
fn without_mappings_of_its_own_a_mount_has_those_of_the_container() {
    let mut bundle = Bundle::script("stat -c %u /mapped/file /plain/file");
    let shared = shared(&bundle, 7, 7);
    bundle.map_users(100_000);
    bundle.add_mount(bound(&shared, &["bind", "idmap"]));
    let mut plain = bound(&shared, &["bind"]);
    plain["destination"] = "/plain".into();
    bundle.add_mount(plain);
    assert_eq!(bundle.run().good(), "7\n65534\n");
}

#[test]
fn a_source_where_only_the_host_may_go_can_be_bound() {
    use std::os::unix::fs::PermissionsExt;
    let mut bundle = Bundle::script("cat /mapped/file");
    let private = bundle.path().join("private");
    fs::create_dir(&private).expect("mkdir");
    fs::set_permissions(&private, fs::Permissions::from_mode(0o700)).expect("chmod");
    fs::rename(shared(&bundle, 100_000, 100_000), private.join("shared")).expect("rename");
    bundle.map_users(100_000);
    bundle.add_mount(bound(&private.join("shared"), &["bind"]));
    assert_eq!(bundle.run().good(), "content\n");
}

/// How many mounts the host has below a directory that it shares, after a container has mounted something there.
fn mounts_that_reach_the_host(bundle: &Bundle, shared: &Path) -> String {
    let script = "mount --bind $D $D && mount --make-shared $D && \"$@\" && grep -c \"$D/below \" /proc/self/mountinfo";
    let run = bundle.command();
    let mut command = Command::new("unshare");
    command.args(["--mount", "sh", "-c", script, "sh"]).arg(run.get_program()).args(run.get_args());
    command.args(["run", "--bundle", bundle.bundle(), &bundle.id]).env("D", shared);
    let output = command.output().expect("unshare");
    assert!(output.stderr.is_empty(), "{output:?}");
    String::from_utf8_lossy(&output.stdout).into_owned()
}

#[test]
fn what_is_mounted_inside_reaches_the_host_only_where_that_is_asked_for() {
    let ours_with = |users: bool, word: &str| {
        let mut bundle = Bundle::args(&["mount", "-t", "tmpfs", "none", "/mapped/below"]);
        let shared = shared(&bundle, 100_000, 100_000);
        fs::create_dir(shared.join("below")).expect("mkdir");
        if users {
            bundle.map_users(100_000);
        }
        bundle.add_mount(bound(&shared, &["rbind", word]));
        for set in ["bounding", "effective", "permitted"] {
            bundle.config()["process"]["capabilities"][set] = json!(["CAP_SYS_ADMIN"]);
        }
        mounts_that_reach_the_host(&bundle, &shared)
    };
    for users in [true, false] {
        for word in ["rw", "rslave", "rprivate"] {
            assert_eq!(ours_with(users, word), "0\n", "{users} {word}");
        }
    }
    assert_eq!(ours_with(false, "rshared"), "1\n");
}

#[test]
fn mappings_that_make_no_sense_are_refused() {
    if !is_ours() {
        return;
    }
    let refused = |mount: Value| {
        let mut bundle = Bundle::args(&["true"]);
        bundle.add_mount(mount);
        bundle.create().bad()
    };
    let with = |mut mount: Value, field: &str| {
        mount[field] = json!([{"containerID": 0, "hostID": 1, "size": 1}]);
        mount
    };
    let plain = bound(Path::new("/tmp"), &["bind", "idmap"]);
    assert!(refused(plain.clone()).contains("needs mappings"));
    assert!(refused(with(plain, "uidMappings")).contains("needs both"));
    let tmpfs = json!({"destination": "/mapped", "type": "tmpfs", "source": "tmpfs"});
    let tmpfs = with(with(tmpfs, "uidMappings"), "gidMappings");
    assert!(refused(tmpfs).contains("only be mapped on a bind mount"));
}

#[test]
fn a_root_where_only_the_host_may_go_can_be_entered() {
    use std::os::unix::fs::PermissionsExt;
    let mut bundle = Bundle::script("hostname; pwd");
    bundle.map_users(100_000);
    fs::set_permissions(bundle.path(), fs::Permissions::from_mode(0o700)).expect("chmod");
    assert_eq!(bundle.run().good(), "box\n/\n");
}

#[test]
fn devices_belong_to_whom_the_configuration_says_and_can_be_used_under_any_name() {
    let mut bundle =
        Bundle::script("stat -c '%t:%T %a %u:%g' /dev/other /dev/null; echo x > /dev/other && echo used");
    bundle.map_users(100_000);
    bundle.config()["linux"]["devices"] = json!([
        {"path": "/dev/other", "type": "c", "major": 1, "minor": 3, "fileMode": 0o620, "uid": 0, "gid": 5}]);
    bundle.config()["linux"]["resources"] = json!({});
    assert_eq!(bundle.run().good(), "1:3 620 0:5\n1:3 666 65534:65534\nused\n");
}

/// Who joins a mount namespace begins at what is mounted on top of its root.
#[test]
fn where_devices_are_made_ahead_nothing_of_the_host_is_left_to_see() {
    let mut bundle = Bundle::args(&["sleep", "1000"]);
    bundle.open_path();
    let canary = bundle.path().join("canary");
    fs::write(&canary, "sings").expect("write");
    bundle.map_users(100_000);
    bundle.config()["linux"]["devices"] =
        json!([{"path": "/dev/other", "type": "c", "major": 1, "minor": 3}]);
    bundle.config()["linux"]["resources"] = json!({});
    bundle.create().good();
    bundle.verb("start").good();
    let canary = canary.to_str().expect("plain");
    let exec = bundle.runtime(&["exec", &bundle.id, "sh", "-c", "echo inside; cat \"$0\"", canary]);
    assert_eq!((exec.out.as_str(), exec.code), ("inside\n", 1), "{exec:?}");
    let mounts = fs::read_to_string(format!("/proc/{}/mountinfo", bundle.pid())).expect("mountinfo");
    let roots = mounts.lines().filter(|line| line.split(' ').nth(4) == Some("/"));
    assert_eq!(roots.count(), 1, "{mounts}");
}

#[test]
fn standard_output_can_be_opened_by_its_name() {
    let mut bundle = Bundle::script("echo named > /dev/stdout");
    bundle.map_users(100_000);
    let run = bundle.command().args(["run", "--bundle", bundle.bundle(), &bundle.id]).output().expect("run");
    assert_eq!(String::from_utf8_lossy(&run.stdout), "named\n", "{run:?}");
}

/// What the host forbids on a mount, whoever has all rights in the container's user namespace cannot allow.
#[test]
fn a_mount_that_the_host_has_locked_stays_locked() {
    apart::run("mapped::a_mount_that_the_host_has_locked_stays_locked", || {
        for (private, options) in [
            (false, vec!["rbind"]),
            (true, vec!["rbind"]),
            (false, vec!["rbind", "rshared"]),
            (false, vec!["rbind", "idmap"]),
        ] {
            let mut bundle = Bundle::script(
                "mount -o remount,bind,rw /mapped 2>/dev/null; touch /mapped/made 2>&1 || echo kept",
            );
            let source = locked(&bundle, private);
            bundle.map_users(100_000);
            bundle.add_mount(bound(&source, &options));
            give_sys_admin(&mut bundle);
            assert!(bundle.run().good().ends_with("kept\n"), "{private} {options:?}");
            assert!(Command::new("umount").arg(&source).status().expect("umount").success());
        }
    });
}

/// What is mounted below cannot be left out for them; so nothing could be locked.
#[test]
fn alone_only_a_mount_that_forbids_nothing_can_be_bound_over_others() {
    apart::run("mapped::alone_only_a_mount_that_forbids_nothing_can_be_bound_over_others", || {
        for options in [["-o", "remount,bind,rw"], ["-o", "remount,bind,ro"]] {
            let mut bundle = Bundle::script("ls /mapped");
            let source = locked(&bundle, false);
            mount(&["-o", "remount,bind,rw", "-t", "none"], &source);
            let below = source.join("below");
            fs::create_dir(&below).expect("mkdir");
            mount(&["-t", "tmpfs"], &below);
            mount(&[&options[..], &["-t", "none"]].concat(), &source);
            bundle.map_users(100_000);
            bundle.add_mount(bound(&source, &["bind"]));
            match options[1].ends_with("rw") {
                true => assert_eq!(bundle.run().good(), "below\n"),
                false => {
                    let refused = bundle.create();
                    assert!(!is_ours() || refused.bad().contains("could lift what its mount forbids"));
                }
            }
            for target in [&below, &source] {
                assert!(Command::new("umount").arg(target).status().expect("umount").success());
            }
        }
    });
}

#[test]
fn a_source_may_be_reached_through_a_process() {
    let mut bundle = Bundle::script("cat /mapped/file /again/file");
    let source = shared(&bundle, 100_000, 100_000);
    bundle.map_users(100_000);
    let neighbour = Command::new("sleep").arg("100").current_dir(&source).spawn();
    let mut neighbour = neighbour.expect("sleep");
    bundle.add_mount(bound(Path::new(&format!("/proc/{}/cwd", neighbour.id())), &["rbind"]));
    let mut again =
        bound(Path::new(&format!("/proc/{}/root{}", neighbour.id(), source.display())), &["rbind"]);
    again["destination"] = "/again".into();
    bundle.add_mount(again);
    let run = bundle.run();
    neighbour.kill().and_then(|()| neighbour.wait()).expect("kill");
    assert_eq!(run.good(), "content\ncontent\n");
}

/// Root of a user namespace alone has no rights over the mounts that it is in.
#[test]
fn somebody_who_is_root_of_users_alone_can_bind() {
    if !is_ours() {
        return;
    }
    let mut bundle = Bundle::script("cat /mapped/file");
    let source = shared(&bundle, 1000, 1000);
    bundle.add_mount(bound(&source, &["rbind"]));
    let mappings = json!([{"containerID": 0, "hostID": 0, "size": 1}]);
    let linux = &mut bundle.config()["linux"];
    linux["namespaces"].as_array_mut().expect("namespaces").push(json!({"type": "user"}));
    linux["uidMappings"] = mappings.clone();
    linux["gidMappings"] = mappings;
    bundle.give_to(1000);
    bundle.open_path();
    let run = bundle.command();
    let mut command = Command::new("setpriv");
    command.args(["--reuid=1000", "--regid=1000", "--clear-groups", "unshare", "--user", "--map-root-user"]);
    command.arg(run.get_program()).args(run.get_args()).args(["--cgroup-manager", "disabled"]);
    let output = command.args(["run", "--bundle", bundle.bundle(), &bundle.id]).output().expect("unshare");
    assert_eq!(String::from_utf8_lossy(&output.stdout), "content\n", "{output:?}");
}

fn give_sys_admin(bundle: &mut Bundle) {
    for set in ["bounding", "effective", "permitted"] {
        let set = bundle.config()["process"]["capabilities"][set].as_array_mut().expect("capabilities");
        set.push("CAP_SYS_ADMIN".into());
    }
}

/// A directory where everybody may write, on a mount that is read-only, the way to which is
/// `private` to the host's root.
fn locked(bundle: &Bundle, private: bool) -> PathBuf {
    use std::os::unix::fs::PermissionsExt;
    let parent = bundle.path().join("parent");
    let source = parent.join("locked");
    fs::create_dir_all(&source).expect("mkdir");
    let mode = fs::Permissions::from_mode(if private { 0o700 } else { 0o755 });
    fs::set_permissions(&parent, mode).expect("chmod");
    mount(&["-t", "tmpfs", "-o", "mode=777"], &source);
    // The mount is read-only, and the file system is not.
    mount(&["-o", "remount,bind,ro", "-t", "none"], &source);
    source
}

#[track_caller]
fn mount(options: &[&str], target: &Path) {
    let mount = Command::new("mount").args(options).arg("none").arg(target).status();
    assert!(mount.expect("mount").success(), "{options:?}");
}

#[test]
fn without_a_pivot_too_a_root_where_only_the_host_may_go_can_be_entered() {
    use std::os::unix::fs::PermissionsExt;
    let mut bundle = Bundle::args(&["hostname"]);
    bundle.map_users(100_000);
    fs::set_permissions(bundle.path(), fs::Permissions::from_mode(0o700)).expect("chmod");
    let run = bundle.runtime(&["run", "--no-pivot", "--bundle", bundle.bundle(), &bundle.id]);
    assert_eq!(run.good(), "box\n");
}

#[test]
fn a_namespace_without_root_has_its_own_users() {
    let mut bundle = Bundle::script("id -u; id -g");
    bundle.open_path();
    let mapping = json!([{"containerID": 1000, "hostID": 100_000, "size": 10}]);
    let config = bundle.config();
    config["linux"]["namespaces"].as_array_mut().expect("namespaces").push(json!({"type": "user"}));
    config["linux"]["uidMappings"] = mapping.clone();
    config["linux"]["gidMappings"] = mapping;
    config["process"]["user"] = json!({"uid": 1001, "gid": 1002});
    chown(bundle.path().join("rootfs"), Some(100_001), Some(100_002)).expect("chown");
    assert_eq!(bundle.run().good(), "1001\n1002\n");
}

#[test]
fn what_shows_a_namespace_of_the_host_can_be_mounted() {
    if !is_ours() {
        return;
    }
    let mut bundle =
        Bundle::script("ls /sys/class/net | grep -c . ; readlink /proc/self/ns/pid; ls -A /sys/fs/cgroup");
    bundle.map_users(100_000);
    let config = bundle.config();
    let kinds = config["linux"]["namespaces"].as_array_mut().expect("namespaces");
    kinds.retain(|kind| !["network", "pid", "uts"].contains(&kind["type"].as_str().expect("type")));
    config.as_object_mut().expect("config").remove("hostname");
    let devices = fs::read_dir("/sys/class/net").expect("list").count();
    let processes = fs::read_link("/proc/self/ns/pid").expect("namespace");
    assert_eq!(bundle.run().good(), format!("{devices}\n{}\n", processes.display()));
}

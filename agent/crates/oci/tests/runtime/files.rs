//! Mounts, masks, devices, the root.

use crate::support::{Bundle, is_ours};
use serde_json::{Value, json};
use std::fs;

fn add_mount(config: &mut Value, mount: Value) {
    config["mounts"].as_array_mut().expect("mounts").push(mount);
}

#[test]
fn bind_mounts_show_files_and_directories_with_their_options() {
    let bundle = Bundle::script(
        "cat /data/file; echo x > /data/new && echo wrote; cat /single; echo x > /ro/f 2>/dev/null || echo refused; \
         grep ' /ro ' /proc/self/mountinfo | grep -c 'ro,nosuid,nodev,noexec'",
    );
    let source = bundle.path().join("source");
    fs::create_dir(&source).expect("mkdir");
    fs::write(source.join("file"), "content\n").expect("write");
    let bundle = bundle.with(|config| {
        add_mount(
            config,
            json!({"destination": "/data", "source": source, "type": "bind", "options": ["rbind"]}),
        );
        let file = source.join("file");
        add_mount(
            config,
            json!({"destination": "/single", "source": file, "type": "none", "options": ["bind"]}),
        );
        let options = ["bind", "ro", "nosuid", "nodev", "noexec"];
        add_mount(
            config,
            json!({"destination": "/ro", "source": source, "type": "bind", "options": options}),
        );
    });
    assert_eq!(bundle.run().good(), "content\nwrote\ncontent\nrefused\n1\n");
    assert!(source.join("new").exists());
}

#[test]
fn the_root_itself_can_be_read_only_and_cannot_be_masked() {
    for path in ["/", "//", "/bin/.."] {
        let bundle = Bundle::script("touch /made 2>/dev/null || echo refused").with(|config| {
            config["root"]["readonly"] = json!(false);
            config["linux"]["readonlyPaths"] = json!([path]);
        });
        assert!(!is_ours() || bundle.run().good() == "refused\n", "{path}");
    }
    let bundle = Bundle::args(&["true"]).with(|config| config["linux"]["maskedPaths"] = json!(["/"]));
    assert!(!is_ours() || bundle.create().bad().contains("the root itself cannot be masked"));
    let bundle = Bundle::args(&["true"]).with(|config| {
        config["linux"]["namespaces"] = json!([]);
        config["linux"]["maskedPaths"] = json!(["/etc"]);
        config.as_object_mut().expect("config").remove("hostname");
    });
    assert!(!is_ours() || bundle.create().bad().contains("need a mount namespace"));
}

#[test]
fn what_is_mounted_can_be_mounted_again_with_other_parameters() {
    let script = "touch /m/x 2>/dev/null || echo refused; df -k /m | awk 'END {print $2}'";
    let bundle = Bundle::script(script).with(|config| {
        add_mount(config, json!({"destination": "/m", "type": "tmpfs", "source": "t", "options": ["size=8m"]}));
        let again = json!({"destination": "/m", "type": "tmpfs", "options": ["remount", "ro", "size=2m", "noiversion"]});
        add_mount(config, again);
    });
    assert_eq!(bundle.run().good(), "refused\n2048\n");
}

/// A link of the image's leads to the root, whose file system is the host's; and so may be what is bound.
#[test]
fn only_what_the_configuration_mounted_is_mounted_again() {
    let again =
        |destination: &str| json!({"destination": destination, "type": "none", "options": ["remount", "ro"]});
    let tmpfs = json!({"destination": "/m", "type": "tmpfs", "source": "t"});
    let bind = json!({"destination": "/m", "source": "rootfs/bin", "options": ["bind"]});
    for mounts in
        [vec![again("/m")], vec![tmpfs.clone(), bind, again("/m")], vec![tmpfs.clone(), again("/n")]]
    {
        let bundle = Bundle::args(&["true"]).with(|config| {
            mounts.into_iter().for_each(|mount| add_mount(config, mount));
        });
        let refused = bundle.create();
        assert!(!is_ours() || refused.bad().contains("no file system was mounted there before"));
    }

    let bundle = Bundle::args(&["true"]).with(|config| {
        add_mount(config, tmpfs);
        add_mount(config, again("/m"));
    });
    std::os::unix::fs::symlink("/", bundle.inside("m")).expect("link");
    assert!(!is_ours() || bundle.create().bad().contains("leads to the root itself"));
    fs::write(bundle.inside("written"), "").expect("the host's file system is as it was");

    // What is bound meanwhile comes to be there, by a link.
    let bundle = Bundle::args(&["true"]).with(|config| {
        add_mount(config, json!({"destination": "/m", "type": "tmpfs", "source": "t"}));
        add_mount(config, json!({"destination": "/n", "source": "rootfs/bin", "options": ["bind"]}));
        add_mount(config, again("/m"));
    });
    std::os::unix::fs::symlink("/m", bundle.inside("n")).expect("link");
    assert!(!is_ours() || bundle.create().bad().contains("something else is there by now"));
    fs::write(bundle.inside("bin/written"), "").expect("the host's file system is as it was");

    // Where a link leads to a directory of the image's own, nothing is wrong.
    let bundle = Bundle::script("touch /m/x 2>/dev/null || echo refused").with(|config| {
        add_mount(config, json!({"destination": "/m", "type": "tmpfs", "source": "t"}));
        add_mount(config, again("/m"));
    });
    fs::create_dir(bundle.inside("real")).expect("mkdir");
    std::os::unix::fs::symlink("/real", bundle.inside("m")).expect("link");
    assert_eq!(bundle.run().good(), "refused\n");

    // Of a namespace that is the host's, too, only the mount changes.
    let bundle = Bundle::script(
        "grep -c ' /sys ro.* sysfs rw' /proc/self/mountinfo || grep sysfs /proc/self/mountinfo",
    )
    .with(|config| {
        config["linux"]["namespaces"]
            .as_array_mut()
            .expect("namespaces")
            .retain(|kind| kind["type"] != "network");
        config["mounts"].as_array_mut().expect("mounts").retain(|mount| mount["destination"] != "/sys");
        add_mount(config, json!({"destination": "/sys", "type": "sysfs", "source": "sysfs"}));
        add_mount(config, again("/sys"));
    });
    if is_ours() {
        let mounts = bundle.run().good();
        assert!(mounts.starts_with('1'), "{mounts}");
    }
}

#[test]
fn nothing_is_mounted_where_an_image_leads_to_the_root() {
    for options in [&["run"][..], &["run", "--no-pivot"]] {
        let mut bundle = Bundle::args(&["true"]);
        std::os::unix::fs::symlink("/", bundle.inside("led")).expect("link");
        bundle.add_mount(json!({"destination": "/led", "source": "/etc", "options": ["bind"]}));
        let run = bundle.runtime(&[options, &["--bundle", bundle.bundle(), &bundle.id]].concat());
        assert!(!is_ours() || run.bad().contains("leads to the root itself"));
    }
}

#[test]
fn another_mount_of_the_root_can_be_read_only_by_itself() {
    let script = "touch /self/x 2>/dev/null || echo refused; touch /x && echo taken";
    let bundle = Bundle::script(script).with(|config| {
        add_mount(config, json!({"destination": "/self", "source": "rootfs", "options": ["bind"]}));
        config["linux"]["readonlyPaths"] = json!(["/self"]);
    });
    assert_eq!(bundle.run().good(), "refused\ntaken\n");
}

#[test]
fn a_number_that_no_device_has_is_refused() {
    for (major, minor) in [(4096 + 1, 3), (1, (1 << 20) + 3), (-1, 3)] {
        let bundle = Bundle::args(&["true"]).with(|config| {
            let device = json!({"path": "/dev/x", "type": "c", "major": major, "minor": minor});
            config["linux"]["devices"] = json!([device]);
        });
        assert!(!is_ours() || bundle.create().bad().contains("/dev/x: no device number"), "{major}:{minor}");
    }
}

#[test]
fn a_file_cannot_be_bound_over_a_directory() {
    let bundle = Bundle::args(&["true"]).with(|config| {
        add_mount(
            config,
            json!({"destination": "/bin", "type": "bind", "source": "/etc/hostname", "options": ["bind"]}),
        );
    });
    let error = bundle.create().bad();
    assert!(!is_ours() || error.contains("mount /bin: the source is no directory"), "{error}");
}

#[test]
fn a_recursive_option_reaches_what_is_mounted_below() {
    if !is_ours() {
        return; // Newer than the runtimes of Debian 12.
    }
    let bundle = Bundle::script("echo x > /a/x; echo x > /a/b/x; true").with(|config| {
        add_mount(config, json!({"destination": "/a", "type": "tmpfs", "source": "t"}));
        add_mount(config, json!({"destination": "/a/b", "type": "tmpfs", "source": "t"}));
    });
    assert_eq!(bundle.run().err, "");
    let inner = "echo x > /sys2/kernel/x 2>/dev/null || echo refused; \
                 grep ' /sys2' /proc/self/mountinfo | grep -vc ' ro,'";
    let bundle = Bundle::script(inner).with(|config| {
        add_mount(
            config,
            json!({"destination": "/sys2", "source": "/sys", "type": "bind", "options": ["rbind", "rro"]}),
        );
    });
    assert_eq!(bundle.run().out, "refused\n0\n");
}

#[test]
fn relative_sources_start_from_the_bundle_and_relative_destinations_from_the_root() {
    let bundle = Bundle::script("cat /deep/er/file").with(|config| {
        add_mount(
            config,
            json!({"destination": "deep/er", "source": "src", "type": "bind", "options": ["bind"]}),
        );
    });
    fs::create_dir(bundle.path().join("src")).expect("mkdir");
    fs::write(bundle.path().join("src/file"), "here\n").expect("write");
    if is_ours() || std::env::var("OCI_RUNTIME").is_ok_and(|name| name == "crun") {
        assert_eq!(bundle.run().good(), "here\n");
    }
}

#[test]
fn file_system_parameters_are_passed_on_and_bad_ones_are_an_error() {
    let bundle = Bundle::script("stat -c %a /t; grep ' /t ' /proc/self/mountinfo | grep -c 'size=12k'").with(
        |config| {
            let options = ["mode=1700", "size=12k"];
            add_mount(
                config,
                json!({"destination": "/t", "type": "tmpfs", "source": "t", "options": options}),
            );
        },
    );
    assert_eq!(bundle.run().good(), "1700\n1\n");
    let bundle = Bundle::args(&["true"]).with(|config| {
        add_mount(
            config,
            json!({"destination": "/t", "type": "tmpfs", "source": "t", "options": ["no_such=1"]}),
        );
    });
    let error = bundle.run().bad();
    assert!(!is_ours() || error.contains("no_such"), "{error}");
}

#[test]
fn a_memory_file_system_can_begin_with_what_it_covers() {
    let script = "cat /data/file /data/sub/deep; readlink /data/link; stat -c '%a %u:%g' /data/file /data/sub; \
                  echo new > /data/sub/deep && echo wrote";
    let bundle = Bundle::script(script).with(|config| {
        config["root"]["readonly"] = true.into();
        let options = ["tmpcopyup", "mode=755"];
        add_mount(
            config,
            json!({"destination": "/data", "type": "tmpfs", "source": "t", "options": options}),
        );
    });
    fs::create_dir_all(bundle.inside("data/sub")).expect("mkdir");
    fs::write(bundle.inside("data/file"), "one\n").expect("write");
    fs::write(bundle.inside("data/sub/deep"), "two\n").expect("write");
    std::os::unix::fs::symlink("/etc/passwd", bundle.inside("data/link")).expect("link");
    std::os::unix::fs::chown(bundle.inside("data/file"), Some(5), Some(6)).expect("chown");
    use std::os::unix::fs::PermissionsExt;
    fs::set_permissions(bundle.inside("data/sub"), fs::Permissions::from_mode(0o700)).expect("chmod");
    for name in ["proc", "sys", "dev"] {
        fs::create_dir(bundle.inside(name)).expect("mkdir");
    }
    assert_eq!(bundle.run().good(), "one\ntwo\n/etc/passwd\n644 5:6\n700 0:0\nwrote\n");
    assert_eq!(fs::read_to_string(bundle.inside("data/sub/deep")).expect("read"), "two\n");
}

#[test]
fn later_mounts_cover_earlier_ones() {
    let mut bundle = Bundle::script("ls /m");
    for name in ["one", "two"] {
        let source = bundle.path().join(name);
        let mount = json!({"destination": "/m", "type": "bind", "source": source, "options": ["bind"]});
        add_mount(bundle.config(), mount);
    }
    for name in ["one", "two"] {
        fs::create_dir(bundle.path().join(name)).expect("mkdir");
        fs::write(bundle.path().join(name).join(name), "").expect("write");
    }
    assert_eq!(bundle.run().good(), "two\n");
}

#[test]
fn masked_paths_are_empty_and_read_only_paths_refuse_writes() {
    let bundle = Bundle::script(
        "cat /secret | wc -c; ls /secrets | wc -l; echo x > /locked/f 2>/dev/null || echo refused; \
         echo x > /proc/sys/kernel/hostname 2>/dev/null || echo refused; wc -c < /proc/keys; touch /secrets/x 2>/dev/null || echo refused",
    )
    .with(|config| {
        config["linux"]["maskedPaths"] = json!(["/secret", "/secrets", "/proc/keys", "/not/there"]);
        config["linux"]["readonlyPaths"] = json!(["/locked", "/proc/sys", "/not/there"]);
    });
    fs::write(bundle.inside("secret"), "secret").expect("write");
    fs::create_dir(bundle.inside("secrets")).expect("mkdir");
    fs::write(bundle.inside("secrets/s"), "secret").expect("write");
    fs::create_dir(bundle.inside("locked")).expect("mkdir");
    assert_eq!(bundle.run().good(), "0\n0\nrefused\nrefused\n0\nrefused\n");
}

#[test]
fn a_read_only_root_refuses_writes_and_a_writable_one_takes_them() {
    let script = "touch /made 2>/dev/null && echo made || echo refused; touch /dev/shm/x && echo made";
    let bundle = Bundle::script(script).with(|config| config["root"]["readonly"] = true.into());
    assert_eq!(bundle.run().good(), "refused\nmade\n");
    assert_eq!(Bundle::script(script).run().good(), "made\nmade\n");
}

#[test]
fn default_and_listed_devices_are_there_with_their_modes() {
    let bundle = Bundle::script(
        "for d in null zero full random urandom tty; do stat -c '%n %t:%T %a' /dev/$d; done; \
         stat -c '%n %F %t:%T %a %u:%g' /dev/mine /dev/sub/pipe; \
         for l in fd stdin stdout stderr ptmx; do readlink /dev/$l; done; head -c 3 /dev/zero | wc -c",
    )
    .with(|config| {
        config["linux"]["devices"] = json!([
            {"path": "/dev/mine", "type": "c", "major": 1, "minor": 7, "fileMode": 0o640, "uid": 5, "gid": 6},
            {"path": "/dev/sub/pipe", "type": "p", "fileMode": 0o600},
        ]);
    });
    let want = "/dev/null 1:3 666\n/dev/zero 1:5 666\n/dev/full 1:7 666\n/dev/random 1:8 666\n/dev/urandom 1:9 666\n\
                /dev/tty 5:0 666\n/dev/mine character special file 1:7 640 5:6\n/dev/sub/pipe fifo 0:0 600 0:0\n\
                /proc/self/fd\n/proc/self/fd/0\n/proc/self/fd/1\n/proc/self/fd/2\npts/ptmx\n3\n";
    assert_eq!(bundle.run().good(), want);
}

#[test]
fn words_for_a_file_system_mean_nothing_where_one_is_bound() {
    let mut bundle = Bundle::script("cat /bound/file");
    let shared = bundle.path().join("shared");
    fs::create_dir(&shared).expect("mkdir");
    fs::write(shared.join("file"), "content\n").expect("write");
    bundle.add_mount(json!({"destination": "/bound", "type": "bind", "source": shared, "options": ["bind", "mode=755", "size=4k"]}));
    assert_eq!(bundle.run().good(), "content\n");
}

#[test]
fn something_else_in_the_place_of_a_device_is_an_error() {
    if !is_ours() {
        return;
    }
    let bundle = Bundle::args(&["true"]).with(|config| {
        config["linux"]["devices"] = json!([{"path": "/here", "type": "c", "major": 1, "minor": 7}]);
    });
    fs::write(bundle.inside("here"), "a file").expect("write");
    assert!(bundle.run().bad().contains("/here"));
    assert_eq!(fs::read_to_string(bundle.inside("here")).expect("read"), "a file");
}

#[test]
fn the_propagation_of_the_root_is_as_asked() {
    for (word, mark) in [("shared", "shared:"), ("private", ""), ("unbindable", "unbindable")] {
        let bundle = Bundle::script("cat /proc/self/mountinfo").with(|config| {
            config["linux"]["rootfsPropagation"] = word.into();
        });
        let out = bundle.run().good();
        let root = out.lines().find(|line| line.split(' ').nth(4) == Some("/")).expect("root");
        assert!(root.contains(mark), "{word}: {root}");
        assert!(word != "private" || !root.contains("shared:"), "{root}");
    }
}

#[test]
fn what_is_not_implemented_is_refused_by_name_before_anything_is_touched() {
    if !is_ours() {
        return;
    }
    let cases: [(&str, fn(&mut Value)); 2] = [
        ("linux.intelRdt", |config| config["linux"]["intelRdt"] = json!({"closID": "x"})),
        ("linux.resources.memory.kernel", |config| {
            config["linux"]["resources"]["memory"] = json!({"kernel": 1 << 20})
        }),
    ];
    for (name, change) in cases {
        let bundle = Bundle::args(&["true"]).with(change);
        let error = bundle.create().bad();
        assert!(error.contains(name) && error.contains("not supported"), "{name}: {error}");
        assert!(!bundle.state_root().exists(), "{name}");
    }
}

#[test]
fn without_a_pivot_nothing_of_the_host_is_left_to_see() {
    let script =
        "cut -d ' ' -f 5 /proc/self/mountinfo; ls /; cd /..; ls bin/busybox; mkdir -p /tmp/a; echo there";
    let mut bundle = Bundle::script(script);
    bundle.add_mount(json!({"destination": "/tmp", "type": "tmpfs", "source": "tmpfs"}));
    let pivoted = bundle.run().good();
    let moved = bundle.runtime(&["run", "--no-pivot", "--bundle", bundle.bundle(), &bundle.id]).good();
    assert!(moved.ends_with("bin/busybox\nthere\n"), "{moved}");
    // The old root is below the new one and has no other mount.
    let lines = |text: &str| text.lines().filter(|line| *line != "/").map(str::to_owned).collect::<Vec<_>>();
    assert_eq!(lines(&moved), lines(&pivoted));
}

#[test]
fn a_memory_file_system_looks_like_the_directory_that_it_covers() {
    use std::os::unix::fs::PermissionsExt;
    let mut bundle = Bundle::script("stat -c '%a %u' /covered /given /new /copied; ls /copied");
    for name in ["covered", "given", "copied"] {
        fs::create_dir(bundle.inside(name)).expect("mkdir");
        fs::set_permissions(bundle.inside(name), fs::Permissions::from_mode(0o755)).expect("chmod");
        std::os::unix::fs::chown(bundle.inside(name), Some(7), Some(7)).expect("chown");
    }
    fs::write(bundle.inside("copied/file"), "").expect("write");
    for (name, options) in
        [("covered", &[][..]), ("given", &["mode=700"]), ("new", &[]), ("copied", &["tmpcopyup"])]
    {
        bundle.add_mount(
            json!({"destination": format!("/{name}"), "type": "tmpfs", "source": "t", "options": options}),
        );
    }
    let owner = if is_ours() { 7 } else { 0 };
    assert_eq!(bundle.run().good(), format!("755 0\n700 0\n1777 0\n755 {owner}\nfile\n"));
}

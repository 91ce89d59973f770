//! Images and callers that try to lead the runtime astray. A canary outside must never change.

use crate::support::{Bundle, is_ours};
use serde_json::json;
use std::fs;
use std::os::fd::AsRawFd;
use std::os::unix::fs::symlink;
use std::path::Path;

/// A directory of the host with a file in it, and what is there afterwards.
fn canary(bundle: &Bundle) -> std::path::PathBuf {
    let canary = bundle.path().join("canary");
    fs::create_dir(&canary).expect("mkdir");
    fs::write(canary.join("file"), "sings").expect("write");
    canary
}

#[track_caller]
fn assert_alive(canary: &Path) {
    let names: Vec<_> =
        fs::read_dir(canary).expect("read").map(|entry| entry.expect("entry").file_name()).collect();
    assert_eq!(names, ["file"], "something was made on the host");
    assert_eq!(fs::read_to_string(canary.join("file")).expect("read"), "sings");
    let mounts = fs::read_to_string("/proc/self/mountinfo").expect("mountinfo");
    assert!(!mounts.contains(&*canary.to_string_lossy()), "something was mounted on the host");
}

#[test]
fn links_at_every_path_that_is_touched_lead_nowhere_outside() {
    for name in ["proc", "sys", "dev", "etc", "tmp", "data", "work"] {
        let bundle = Bundle::args(&["true"]);
        let canary = canary(&bundle);
        let targets =
            [canary.to_str().expect("plain").to_owned(), format!("../../../../../../..{}", canary.display())];
        for target in targets {
            let _ = fs::remove_file(bundle.inside(name));
            symlink(&target, bundle.inside(name)).expect("link");
            let mut bundle = Bundle::args(&["true"]).with(|config| {
                config["process"]["cwd"] = "/work/deeper".into();
                config["linux"]["devices"] = json!([{"path": "/tmp/device", "type": "c", "major": 1, "minor": 3}]);
                config["mounts"].as_array_mut().expect("mounts").extend([
                    json!({"destination": "/data/sub", "type": "tmpfs", "source": "t"}),
                    json!({"destination": "/etc/file", "type": "bind", "source": "/etc/hostname", "options": ["bind"]}),
                ]);
                config["linux"]["maskedPaths"] = json!(["/etc", "/tmp", "/data"]);
                config["linux"]["readonlyPaths"] = json!(["/work"]);
            });
            symlink(&target, bundle.inside(name)).expect("link");
            let finished = bundle.run();
            // It may work, inside the root, or be refused; a link to /proc or /sys must be refused.
            assert!(
                !["proc", "sys"].contains(&name) || !is_ours() || finished.code != 0,
                "{name} -> {target}"
            );
            assert_alive(&canary);
            bundle.config();
        }
    }
}

#[test]
fn a_null_device_that_is_a_link_is_not_used_as_a_mask() {
    let bundle = Bundle::args(&["cat", "/secret"]).with(|config| {
        // Without a mount on /dev its content is the image's.
        config["mounts"]
            .as_array_mut()
            .expect("mounts")
            .retain(|mount| !mount["destination"].as_str().is_some_and(|path| path.starts_with("/dev")));
        config["linux"]["maskedPaths"] = json!(["/secret"]);
    });
    let canary = canary(&bundle);
    fs::create_dir(bundle.inside("dev")).expect("mkdir");
    fs::write(bundle.inside("secret"), "secret").expect("write");
    symlink(canary.join("file"), bundle.inside("dev/null")).expect("link");
    let finished = bundle.run();
    assert!(finished.code != 0 || finished.out.is_empty(), "{finished:?}");
    assert_alive(&canary);
}

#[test]
fn stray_descriptors_do_not_reach_the_program() {
    let bundle = Bundle::args(&["ls", "/proc/self/fd"]);
    let strays: Vec<fs::File> = (0..100).map(|_| fs::File::open("/").expect("open")).collect();
    for stray in &strays {
        let flags = nix::fcntl::FcntlArg::F_SETFD(nix::fcntl::FdFlag::empty());
        nix::fcntl::fcntl(stray.as_raw_fd(), flags).expect("inheritable");
    }
    let out = bundle.run().good();
    for stray in &strays {
        let flags = nix::fcntl::FcntlArg::F_SETFD(nix::fcntl::FdFlag::FD_CLOEXEC);
        nix::fcntl::fcntl(stray.as_raw_fd(), flags).expect("close on exec");
    }
    assert_eq!(out, "0\n1\n2\n3\n", "3 is the directory being listed");
}

#[test]
fn preserved_descriptors_reach_the_program_and_no_others() {
    let bundle = Bundle::script("cat <&3; ls /proc/self/fd | wc -l");
    let file = bundle.path().join("kept");
    fs::write(&file, "kept\n").expect("write");
    // A shell places the descriptors where the runtime looks for them.
    let run = bundle.command();
    let mut command = std::process::Command::new("sh");
    command
        .args(["-c", "exec 3<\"$0\" 4</ 5</ 9</; exec \"$@\""])
        .arg(&file)
        .arg(run.get_program())
        .args(run.get_args());
    command.args(["run", "--preserve-fds", "1", "--bundle", bundle.bundle(), &bundle.id]);
    let output = command.output().expect("run");
    // 0, 1, 2, the kept one, and the directory being listed.
    assert_eq!(
        String::from_utf8_lossy(&output.stdout),
        "kept\n5\n",
        "{}",
        String::from_utf8_lossy(&output.stderr)
    );
}

#[test]
fn sockets_of_a_service_manager_reach_the_program_and_it_is_told() {
    let bundle = Bundle::script("cat <&3; echo $LISTEN_FDS $LISTEN_PID $LISTEN_FDNAMES");
    let file = bundle.path().join("kept");
    fs::write(&file, "kept\n").expect("write");
    let run = |pid: &str| {
        let runtime = bundle.command();
        let script =
            format!("exec 3<\"$0\"; export LISTEN_FDS=1 LISTEN_FDNAMES=web LISTEN_PID={pid}; exec \"$@\"");
        let mut command = std::process::Command::new("sh");
        command.args(["-c", &script]).arg(&file).arg(runtime.get_program()).args(runtime.get_args());
        let output = command.args(["run", "--bundle", bundle.bundle(), &bundle.id]).output().expect("run");
        String::from_utf8_lossy(&output.stdout).into_owned()
    };
    assert_eq!(run("$$"), "kept\n1 1 web\n");
    if is_ours() {
        // They are somebody else's, such as those of the daemon that called.
        assert_eq!(run("1"), "\n");
    }
}

#[test]
fn a_working_directory_behind_a_descriptor_is_refused() {
    for number in 0..24 {
        let bundle = Bundle::script("pwd; ls; ls ../../../../..").with(|config| {
            config["process"]["cwd"] = format!("/proc/self/fd/{number}").into();
        });
        let finished = bundle.run();
        assert!(finished.code != 0 || !finished.out.contains("home"), "{number}: {finished:?}");
    }
}

/// What is open while a program is executed can be walked to by the names of the program and of its interpreter.
#[test]
fn a_program_behind_a_descriptor_is_not_executed() {
    let bundle = Bundle::args(&["true"]);
    let outside = bundle.path().join("o");
    fs::create_dir(&outside).expect("mkdir");
    fs::copy(bundle.inside("bin/busybox"), outside.join("sh")).expect("copy");
    let mut bundle = bundle;
    for number in 3..24 {
        let program = format!("/proc/self/fd/{number}{}{}/sh", "/..".repeat(6), outside.display());
        let script = bundle.inside("script");
        fs::write(&script, format!("#!{program}\necho outside\n")).expect("write");
        fs::set_permissions(&script, std::os::unix::fs::PermissionsExt::from_mode(0o755)).expect("chmod");
        for args in [json!([program, "-c", "echo outside"]), json!(["/script"])] {
            bundle.config()["process"]["args"] = args;
            // The caller has left directories of the host open.
            let run = bundle.command();
            let mut command = std::process::Command::new("sh");
            command.args(["-c", "exec 3</ 4</ 5</ 9</; exec \"$0\" \"$@\"", "env"]).arg(run.get_program());
            command.args(run.get_args()).args(["run", "--bundle", bundle.bundle(), &bundle.id]);
            let output = command.output().expect("run");
            let said = String::from_utf8_lossy(&output.stdout).into_owned();
            assert!(!output.status.success() && !said.contains("outside"), "{number}: {output:?}");
            bundle.runtime(&["delete", "--force", &bundle.id]);
        }
    }
    // The same for a further process of a container that runs.
    bundle.config()["process"]["args"] = json!(["sleep", "100"]);
    bundle.create().good();
    bundle.verb("start").good();
    for number in 3..24 {
        let program = format!("/proc/self/fd/{number}{}{}/sh", "/..".repeat(6), outside.display());
        bundle.runtime(&["exec", &bundle.id, &program, "-c", "true"]).bad();
    }
}

#[test]
fn the_runtime_cannot_be_overwritten_through_its_process() {
    // The entry point is a script whose interpreter is the runtime itself: while it runs, and after, the
    // file behind /proc/self/exe must not be writable, nor be the host's file.
    if !is_ours() {
        return;
    }
    let program = env!("CARGO_BIN_EXE_edgelet-oci");
    let before = fs::metadata(program).expect("program").len();
    let bundle = Bundle::args(&["sleep", "100"]);
    bundle.create().good();
    // Between create and start the process is still the runtime.
    let exe = format!("/proc/{}/exe", bundle.pid());
    let error = fs::OpenOptions::new().write(true).open(&exe).expect_err("must not open");
    let refused = [libc::EROFS, libc::EPERM, libc::ETXTBSY, libc::EACCES];
    assert!(error.raw_os_error().is_some_and(|code| refused.contains(&code)), "{error}");
    // ETXTBSY alone would only last as long as the process: the file must be behind a read-only mount, or
    // be a sealed one.
    let file = fs::File::open(&exe).expect("open for reading");
    let read_only = nix::sys::statvfs::fstatvfs(&file)
        .expect("statvfs")
        .flags()
        .contains(nix::sys::statvfs::FsFlags::ST_RDONLY);
    let sealed =
        nix::fcntl::fcntl(file.as_raw_fd(), nix::fcntl::FcntlArg::F_GET_SEALS).is_ok_and(|seals| seals != 0);
    assert!(read_only || sealed);
    assert_eq!(fs::metadata(program).expect("program").len(), before);
}

#[test]
fn the_waiting_process_is_hidden_from_its_neighbours() {
    if !is_ours() {
        return;
    }
    let first = Bundle::args(&["sleep", "100"]);
    first.create().good();
    first.verb("start").good();
    let path = format!("/proc/{}/ns/pid", first.pid());
    let second =
        Bundle::args(&["sleep", "100"]).with(|config| config["linux"]["namespaces"][0]["path"] = path.into());
    second.create().good();
    let script = "for p in /proc/[0-9]*; do readlink $p/exe; ls $p/fd; done 2>/dev/null | grep -c -e edgelet -e sealed";
    let out = first.runtime(&["exec", &first.id, "sh", "-c", script]);
    assert_eq!(out.out, "0\n", "{out:?}");
}

#[test]
fn nothing_may_be_mounted_into_procfs_but_known_files() {
    let mount = |destination: &'static str| {
        move |config: &mut serde_json::Value| {
            let mount = json!({"destination": destination, "type": "bind", "source": "/etc/hostname", "options": ["bind"]});
            config["mounts"].as_array_mut().expect("mounts").push(mount);
        }
    };
    Bundle::args(&["true"]).with(mount("/proc/uptime")).run().good();
    for destination in
        ["/proc/sys/kernel/hostname", "/proc/self/attr/exec", "/proc/1/status", "/dev/../proc/version"]
    {
        Bundle::args(&["true"]).with(mount(destination)).run().bad();
    }
    let cover = Bundle::args(&["true"]).with(|config| {
        config["mounts"]
            .as_array_mut()
            .expect("mounts")
            .push(json!({"destination": "/proc", "type": "tmpfs", "source": "t"}));
    });
    cover.run().bad();
}

#[test]
fn huge_and_broken_configurations_are_refused() {
    let bundle = Bundle::args(&["true"]);
    for text in
        [String::new(), "{".to_owned(), "[]".to_owned(), format!("{{\"a\":\"{}\"}}", "x".repeat(5 << 20))]
    {
        let mut command = bundle.command();
        fs::write(bundle.path().join("config.json"), &text).expect("write");
        command.args(["create", "--bundle", bundle.bundle(), &bundle.id]);
        let output = command.output().expect("run");
        assert!(!output.status.success(), "{}", text.len());
        assert!(!String::from_utf8_lossy(&output.stderr).contains("panicked"));
    }
}

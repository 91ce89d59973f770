//! Terminals handed out over a console socket.

use crate::support::Bundle;
use edgelet_sys::{console, process, socket};
use serde_json::json;
use std::fs::File;
use std::io::{Read, Write};
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::net::UnixListener;
use std::path::Path;
use std::time::Duration;

/// Listens where the runtime will connect.
fn listen(path: &Path) -> UnixListener {
    UnixListener::bind(path).expect("bind")
}

/// The master that the runtime sends.
fn receive(listener: &UnixListener) -> File {
    let wait = Duration::from_secs(20);
    assert!(process::readable_within(listener.as_fd(), wait).expect("wait"), "nobody connects");
    let (stream, _) = listener.accept().expect("accept");
    assert!(process::readable_within(stream.as_fd(), wait).expect("wait"), "nothing is sent");
    let received = socket::receive_fd(stream.as_fd(), 4096).expect("receive").expect("a message");
    File::from(received.1.unwrap_or_else(|| -> OwnedFd { panic!("no descriptor") }))
}

/// Reads until the text appears or the terminal is closed.
fn read_until(master: &mut File, text: &str) -> String {
    let mut seen = Vec::new();
    let mut buffer = [0; 1024];
    while !String::from_utf8_lossy(&seen).contains(text) {
        let waited = process::readable_within(master.as_fd(), Duration::from_secs(20)).expect("poll");
        assert!(waited, "no {text:?} in {:?}", String::from_utf8_lossy(&seen));
        match master.read(&mut buffer) {
            Ok(count) if count > 0 => seen.extend_from_slice(&buffer[..count]),
            _ => break,
        }
    }
    String::from_utf8_lossy(&seen).into_owned()
}

#[test]
fn a_program_with_a_terminal_has_it_as_console_and_controlling_terminal() {
    let script = "tty; stty size; test -c /dev/console && echo console; echo > /dev/tty && echo control; read line; echo got $line";
    let bundle = Bundle::script(script).with(|config| {
        config["process"]["terminal"] = true.into();
        config["process"]["consoleSize"] = json!({"height": 33, "width": 77});
        config["process"]["user"] = json!({"uid": 1000, "gid": 1000});
    });
    let path = bundle.path().join("console.sock");
    let listener = listen(&path);
    let words = [
        "create",
        "--bundle",
        bundle.bundle(),
        "--console-socket",
        path.to_str().expect("plain"),
        &bundle.id,
    ];
    bundle.runtime(&words).good();
    let mut master = receive(&listener);
    bundle.verb("start").good();
    let seen = read_until(&mut master, "control");
    assert!(seen.contains("/dev/pts/0") || seen.contains("/dev/console"), "{seen}");
    assert!(seen.contains("33 77") && seen.contains("console\r\n") && seen.contains("control"), "{seen}");
    console::set_size(master.as_fd(), console::Size { height: 10, width: 20 }).expect("resize");
    master.write_all(b"hello\n").expect("type");
    assert!(read_until(&mut master, "got hello").contains("got hello"));
    bundle.wait();
}

#[test]
fn a_terminal_and_its_socket_go_together() {
    let bundle = Bundle::args(&["true"]).with(|config| config["process"]["terminal"] = true.into());
    bundle.create().bad();
    assert!(bundle.cgroups().is_empty());
}

#[test]
fn exec_gets_a_terminal_of_its_own() {
    let bundle = Bundle::args(&["sleep", "100"]);
    bundle.create().good();
    bundle.verb("start").good();
    let path = bundle.path().join("exec.sock");
    let listener = listen(&path);
    let process = bundle.path().join("process.json");
    let mut wanted = json!({
        "terminal": true, "user": {"uid": 0, "gid": 0}, "cwd": "/", "env": ["PATH=/bin"],
        "args": ["sh", "-c", "tty; stty size; read x; exit 5"], "consoleSize": {"height": 5, "width": 6}
    });
    std::fs::write(&process, wanted.to_string()).expect("write");
    let pid_file = bundle.path().join("exec.pid");
    let words = [
        "exec",
        "--detach",
        "--pid-file",
        pid_file.to_str().expect("plain"),
        "--console-socket",
        path.to_str().expect("plain"),
        "--process",
        process.to_str().expect("plain"),
        &bundle.id,
    ];
    bundle.runtime(&words).good();
    let mut master = receive(&listener);
    let seen = read_until(&mut master, "5 6");
    assert!(seen.contains("/dev/pts/0") && seen.contains("5 6"), "{seen}");
    let pid: i32 = std::fs::read_to_string(&pid_file).expect("pid file").parse().expect("a bare number");
    let held = process::pidfd_open(pid).expect("the process lives");
    master.write_all(b"\n").expect("type");
    assert!(process::readable_within(held.as_fd(), Duration::from_secs(20)).expect("wait"));

    wanted["terminal"] = false.into();
    std::fs::write(&process, wanted.to_string()).expect("write");
    bundle.runtime(&words).bad();
}

#[test]
fn console_socket_paths_may_be_longer_than_an_address() {
    if !crate::support::is_ours() {
        return;
    }
    let bundle = Bundle::script("true").with(|config| config["process"]["terminal"] = true.into());
    let deep = bundle.path().join("d".repeat(120));
    std::fs::create_dir(&deep).expect("mkdir");
    let short = bundle.path().join("short");
    std::os::unix::fs::symlink(&deep, &short).expect("link");
    let listener = listen(&short.join("s"));
    let path = deep.join("s");
    let words = [
        "create",
        "--bundle",
        bundle.bundle(),
        "--console-socket",
        path.to_str().expect("plain"),
        &bundle.id,
    ];
    bundle.runtime(&words).good();
    receive(&listener);
}

/// A terminal holds a few kilobytes, and answers while it is written to.
#[test]
fn in_the_foreground_much_input_arrives() {
    if !crate::support::is_ours() {
        return;
    }
    let bundle =
        Bundle::script("head -n 20000 | wc -l").with(|config| config["process"]["terminal"] = true.into());
    let input = bundle.path().join("input");
    std::fs::write(&input, "hello\n".repeat(20_000)).expect("write");
    let mut command = bundle.command();
    command.args(["run", "--bundle", bundle.bundle(), &bundle.id]);
    let run = command.stdin(std::fs::File::open(&input).expect("open")).output().expect("run");
    assert!(run.stdout.ends_with(b"20000\r\n"), "{:?}", run.status);
}

#[test]
fn in_the_foreground_the_terminal_is_relayed() {
    if !crate::support::is_ours() {
        return; // runc wants standard input to be a terminal as well.
    }
    let bundle = Bundle::script("tty; exit 3").with(|config| config["process"]["terminal"] = true.into());
    let finished = bundle.run();
    assert_eq!((finished.code, finished.out.as_str()), (3, "/dev/pts/0\r\n"), "{finished:?}");
    let bundle = Bundle::args(&["sleep", "100"]);
    bundle.create().good();
    bundle.verb("start").good();
    let finished = bundle.runtime(&["exec", "--tty", &bundle.id, "sh", "-c", "tty; exit 4"]);
    assert_eq!((finished.code, finished.out.as_str()), (4, "/dev/pts/0\r\n"), "{finished:?}");
}

/// The runtime in the foreground with a terminal, and what it writes to.
fn talking(bundle: &Bundle, nonblocking: bool) -> (std::process::Child, File) {
    let (reading, writing) = nix::unistd::pipe2(nix::fcntl::OFlag::O_CLOEXEC).expect("pipe");
    if nonblocking {
        let flags = nix::fcntl::FcntlArg::F_SETFL(nix::fcntl::OFlag::O_NONBLOCK);
        nix::fcntl::fcntl(std::os::fd::AsRawFd::as_raw_fd(&writing), flags).expect("fcntl");
    }
    let mut command = bundle.command();
    command.args(["run", "--bundle", bundle.bundle(), &bundle.id]).stdout(writing);
    (command.spawn().expect("spawn"), reading.into())
}

#[test]
fn in_the_foreground_much_output_arrives_and_slow_readers_hold_up_nothing_else() {
    if !crate::support::is_ours() {
        return;
    }
    let with_terminal =
        |script: &str| Bundle::script(script).with(|config| config["process"]["terminal"] = true.into());
    // Where the runtime is not to wait for room.
    let bundle = with_terminal("i=0; while [ $i -lt 20000 ]; do echo 12345678; i=$((i+1)); done; exit 5");
    let (mut runtime, mut output) = talking(&bundle, true);
    std::thread::sleep(std::time::Duration::from_millis(300));
    let mut text = String::new();
    output.read_to_string(&mut text).expect("read");
    assert_eq!((text.len(), runtime.wait().expect("wait").code()), (200_000, Some(5)));

    // Where nobody reads any more, the program goes on.
    let bundle = with_terminal("i=0; while [ $i -lt 20000 ]; do echo 12345678; i=$((i+1)); done; exit 6");
    let (mut runtime, output) = talking(&bundle, false);
    drop(output);
    assert_eq!(runtime.wait().expect("wait").code(), Some(6));

    // What waits for a reader when the program has ended is not all of it.
    for late in [0, 300] {
        let bundle =
            with_terminal("head -c 6000 /dev/zero | tr '\\0' x; head -c 6000 /dev/zero | tr '\\0' y");
        let (mut runtime, mut output) = talking(&bundle, false);
        nix::fcntl::fcntl(std::os::fd::AsRawFd::as_raw_fd(&output), nix::fcntl::FcntlArg::F_SETPIPE_SZ(4096))
            .expect("fcntl");
        std::thread::sleep(std::time::Duration::from_millis(late));
        let mut text = String::new();
        output.read_to_string(&mut text).expect("read");
        assert_eq!((text.len(), runtime.wait().expect("wait").code()), (12_000, Some(0)));
    }

    // Where nobody reads yet, signals arrive, and the second one is not for the program that has ended.
    let bundle = with_terminal("(while :; do echo 12345678; done) & trap 'exit 7' TERM; echo ready; wait");
    let (mut runtime, mut output) = talking(&bundle, false);
    output.read_exact(&mut [0; 100]).expect("it talks");
    let pid = nix::unistd::Pid::from_raw(i32::try_from(runtime.id()).expect("pid"));
    let deadline = std::time::Instant::now() + std::time::Duration::from_secs(20);
    let ended = loop {
        assert!(std::time::Instant::now() < deadline, "signals do not arrive");
        match runtime.try_wait().expect("wait") {
            Some(ended) => break ended,
            None => nix::sys::signal::kill(pid, nix::sys::signal::Signal::SIGTERM).expect("signal"),
        }
        std::thread::sleep(std::time::Duration::from_millis(100));
    };
    assert_eq!(ended.code(), Some(7));
    assert!(bundle.cgroups().is_empty());
    drop(output);
}

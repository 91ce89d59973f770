//! `ms exec` with pipes and with a real terminal on this side too.

mod support;

use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::pty::{OpenptyResult, Winsize, openpty};
use nix::sys::termios::tcgetattr;
use std::os::fd::{AsFd, AsRawFd, OwnedFd};
use std::process::{Child, Command};
use support::common::{PATIENCE, Server};
use support::{command, run, run_with_input};

#[test]
fn pipes_and_the_exit_code_pass_through() {
    let server = Server::start();
    let said =
        run(server.prefix(), &["ms", "exec", "web", "--", "sh", "-c", "echo out; echo err >&2; exit 7"]);
    assert_eq!((said.out.as_str(), said.err.as_str(), said.code), ("out\n", "err\n", 7));
    let said = run_with_input(server.prefix(), &["ms", "exec", "web", "--", "sort"], b"b\na\n");
    assert_eq!((said.out.as_str(), said.code), ("a\nb\n", 0));
}

#[test]
fn what_cannot_be_run_is_told_apart() {
    let server = Server::start();
    assert_eq!(run(server.prefix(), &["ms", "exec", "nobody", "--", "true"]).code, 4);
    let missing = run(server.prefix(), &["ms", "exec", "web", "--", "no-such-program"]);
    assert_eq!(missing.code, 4, "{missing:?}");
    assert_eq!(run(server.prefix(), &["ms", "exec", "web", "true"]).code, 2, "-- is wanted");
}

#[test]
fn a_shell_is_found_when_no_program_is_named() {
    let server = Server::start();
    let said = run_with_input(server.prefix(), &["ms", "exec", "web"], b"echo from the shell; exit 5\n");
    assert_eq!((said.out.as_str(), said.code), ("from the shell\n", 5));
}

#[test]
fn much_output_arrives_whole() {
    let server = Server::start();
    let said = run(server.prefix(), &["ms", "exec", "web", "--", "seq", "300000"]);
    assert_eq!((said.out.lines().count(), said.code), (300_000, 0));
}

/// The program on a terminal of its own.
struct Terminal {
    pty: OpenptyResult,
    child: Child,
    seen: String,
}

impl Terminal {
    fn run(server: &Server, args: &[&str]) -> Self {
        let pty = openpty(&winsize(80, 24), None).expect("a terminal");
        let inner = command(server.prefix(), args);
        let slave = || OwnedFd::try_clone(&pty.slave).expect("a descriptor");
        // `setsid -c` makes it the controlling terminal, so that the kernel tells of size changes.
        // What the caller's own terminal can do is not to matter.
        let child = Command::new("setsid")
            .env("TERM", "xterm")
            .arg("-c")
            .arg(inner.get_program())
            .args(inner.get_args())
            .env("EDGELET_PREFIX", server.prefix())
            .env_remove("CI")
            .stdin(slave())
            .stdout(slave())
            .stderr(slave())
            .spawn()
            .expect("the program starts");
        Self { pty, child, seen: String::new() }
    }

    fn wait_for(&mut self, text: &str) {
        while !self.seen.contains(text) {
            let mut fds = [PollFd::new(self.pty.master.as_fd(), PollFlags::POLLIN)];
            let ready = poll(&mut fds, PollTimeout::try_from(PATIENCE).expect("short"));
            assert_eq!(ready, Ok(1), "waiting for {text:?} after {:?}", self.seen);
            let mut buffer = [0; 4096];
            let read = nix::unistd::read(self.pty.master.as_raw_fd(), &mut buffer).expect("a terminal");
            self.seen.push_str(&String::from_utf8_lossy(&buffer[..read]));
        }
    }

    fn type_keys(&self, keys: &[u8]) {
        assert_eq!(nix::unistd::write(&self.pty.master, keys), Ok(keys.len()));
    }

    fn resize(&self, columns: u16, rows: u16) {
        let Winsize { ws_row, ws_col, .. } = winsize(columns, rows);
        let size = rustix::termios::Winsize { ws_row, ws_col, ws_xpixel: 0, ws_ypixel: 0 };
        rustix::termios::tcsetwinsize(&self.pty.master, size).expect("a terminal");
    }

    fn exit_code(&mut self) -> i32 {
        self.child.wait().expect("our child").code().expect("it ended by itself")
    }
}

impl Drop for Terminal {
    fn drop(&mut self) {
        // Only a failed test finds it alive.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn winsize(columns: u16, rows: u16) -> Winsize {
    Winsize { ws_row: rows, ws_col: columns, ws_xpixel: 0, ws_ypixel: 0 }
}

#[test]
fn a_terminal_is_raw_knows_its_size_and_is_put_back() {
    let server = Server::start();
    let script = "stty size; trap 'stty size; exit 9' WINCH; echo ready; while :; do sleep 0.05; done";
    let mut terminal = Terminal::run(&server, &["ms", "exec", "web", "--", "sh", "-c", script]);
    let before = tcgetattr(&openpty(None, None).expect("a terminal").slave).expect("a terminal");
    terminal.wait_for("ready");
    assert!(terminal.seen.contains("24 80"), "{}", terminal.seen);
    let during = tcgetattr(&terminal.pty.slave).expect("a terminal");
    assert_ne!(during.local_flags, before.local_flags, "it is raw while the program runs");
    terminal.resize(132, 43);
    terminal.wait_for("43 132");
    assert_eq!(terminal.exit_code(), 9);
    let after = tcgetattr(&terminal.pty.slave).expect("a terminal");
    assert_eq!(
        (after.local_flags, after.input_flags, after.output_flags),
        (before.local_flags, before.input_flags, before.output_flags)
    );
}

#[test]
fn ctrl_c_goes_to_the_program_and_not_to_us() {
    let server = Server::start();
    let script = "trap 'echo caught; exit 3' INT; echo ready; while :; do sleep 0.05; done";
    let mut terminal = Terminal::run(&server, &["ms", "exec", "web", "--", "sh", "-c", script]);
    terminal.wait_for("ready");
    terminal.type_keys(&[3]);
    terminal.wait_for("caught");
    assert_eq!(terminal.exit_code(), 3);
}

#[test]
fn a_killed_command_line_puts_the_terminal_back() {
    let server = Server::start();
    let mut terminal =
        Terminal::run(&server, &["ms", "exec", "web", "--", "sh", "-c", "echo ready; sleep 1000"]);
    let before = tcgetattr(&openpty(None, None).expect("a terminal").slave).expect("a terminal");
    terminal.wait_for("ready");
    let pid = nix::unistd::Pid::from_raw(i32::try_from(terminal.child.id()).expect("a pid"));
    nix::sys::signal::kill(pid, nix::sys::signal::Signal::SIGTERM).expect("it runs");
    assert_eq!(terminal.exit_code(), 1);
    assert_eq!(tcgetattr(&terminal.pty.slave).expect("a terminal").local_flags, before.local_flags);
    assert_eq!(server.node.next_kill(), "sh");
}

#[test]
fn a_pull_on_a_terminal_shows_a_bar_and_clears_it() {
    let server = Server::start();
    server.node.set_registry_up(false);
    let mut terminal = Terminal::run(&server, &["image", "pull", "redis"]);
    terminal.wait_for(" 25 % 1.00 MiB / 4.00 MiB");
    server.node.set_registry_up(true);
    terminal.wait_for("redis@sha256:");
    assert!(terminal.seen.contains("\r\x1b[K"), "{:?}", terminal.seen);
    assert_eq!(terminal.exit_code(), 0);
}

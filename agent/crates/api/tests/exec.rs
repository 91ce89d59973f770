//! Exec sessions: real programs behind real pipes and terminals.

mod common;

use common::Server;
use edgelet_api::client::{Attached, Client, ClientError, Incoming};
use edgelet_api::wire::{ExecFrame, ExecSession, ExecSessionRequest};
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use std::os::fd::AsFd;
use std::time::{Duration, Instant};

fn client(server: &Server) -> Client {
    Client::new(&server.socket(), common::PATIENCE)
}

fn request(tty: bool, command: &[&str]) -> ExecSessionRequest {
    ExecSessionRequest {
        command: command.iter().map(|word| (*word).to_owned()).collect(),
        tty,
        stdin: true,
        stdout: true,
        stderr: true,
        cols: Some(100),
        rows: Some(30),
    }
}

fn open(server: &Server, request: &ExecSessionRequest) -> (ExecSession, Attached) {
    let session = client(server).exec("web", request).expect("a session");
    let attached = client(server).attach(&session).expect("attached");
    (session, attached)
}

/// The next frame; `None` when the server hung up.
fn next(attached: &mut Attached) -> Option<ExecFrame> {
    loop {
        match attached.receive().expect("the protocol holds") {
            Incoming::Frame(frame) => return Some(frame),
            Incoming::Closed => return None,
            Incoming::Nothing => {
                let mut fds = [PollFd::new(attached.as_fd(), PollFlags::POLLIN)];
                let ready = poll(&mut fds, PollTimeout::try_from(common::PATIENCE).expect("short"));
                assert_ne!(ready, Ok(0), "the server says nothing");
            }
        }
    }
}

/// Everything until the end: standard output, standard error, exit code.
fn finish(attached: &mut Attached) -> (String, String, Option<i32>) {
    let (mut out, mut err, mut code) = (String::new(), String::new(), None);
    while let Some(frame) = next(attached) {
        match frame {
            ExecFrame::Stdout { line } => out.push_str(&line),
            ExecFrame::Stderr { line } => err.push_str(&line),
            ExecFrame::Control { exit_code } => code = Some(exit_code),
        }
    }
    (out, err, code)
}

/// Reads standard output until it contains `text`.
fn wait_for(attached: &mut Attached, text: &str) -> String {
    let mut seen = String::new();
    while !seen.contains(text) {
        match next(attached) {
            Some(ExecFrame::Stdout { line }) => seen.push_str(&line),
            other => panic!("{other:?} after {seen:?}, waiting for {text:?}"),
        }
    }
    seen
}

#[test]
fn pipes_carry_both_streams_and_the_exit_code() {
    let server = Server::start();
    let (session, mut attached) =
        open(&server, &request(false, &["sh", "-c", "echo out; echo err >&2; exit 7"]));
    assert_eq!(finish(&mut attached), ("out\n".into(), "err\n".into(), Some(7)));
    common::eventually("the exit code is kept", || {
        let again = client(&server).attach(&session).err();
        matches!(again, Some(ClientError::Api(body)) if body.code == "CONFLICT")
    });
}

#[test]
fn input_reaches_the_program_and_its_end_too() {
    let server = Server::start();
    let (_, mut attached) = open(&server, &request(false, &["sort"]));
    attached.input(b"b\na\n").expect("sent");
    attached.end_input().expect("sent");
    assert_eq!(finish(&mut attached), ("a\nb\n".into(), String::new(), Some(0)));
}

#[test]
fn what_a_program_said_that_ended_before_its_input_did_arrives_whole() {
    let server = Server::start();
    // The server goes before the input comes, and while it comes.
    for unread in [false, true] {
        let (_, mut attached) = open(&server, &request(false, &["sh", "-c", "echo out; exit 7"]));
        if unread {
            attached.input(b"nobody reads this").expect("no error");
        }
        common::eventually("the server hangs up", || {
            let mut fds = [PollFd::new(attached.as_fd(), PollFlags::POLLHUP)];
            poll(&mut fds, PollTimeout::ZERO).expect("poll") == 1
        });
        attached.input(b"nobody reads this").expect("no error");
        attached.end_input().expect("no error");
        assert!(!attached.is_busy());
        assert_eq!(finish(&mut attached), ("out\n".into(), String::new(), Some(7)));
    }
}

#[test]
fn a_character_cut_in_two_arrives_whole() {
    let server = Server::start();
    // The reader says `go` for the second half, so that the halves cannot be read as one.
    let script = "printf '\\342\\202'; read go; printf '\\254!'";
    let (_, mut attached) = open(&server, &request(false, &["sh", "-c", script]));
    attached.input(b"go\n").expect("sent");
    assert_eq!(finish(&mut attached), ("€!".into(), String::new(), Some(0)));
}

#[test]
fn a_terminal_has_its_size_and_hears_of_changes() {
    let server = Server::start();
    let script = "stty size; trap 'stty size; exit 3' WINCH; echo ready; while :; do sleep 0.05; done";
    let (_, mut attached) = open(&server, &request(true, &["sh", "-c", script]));
    assert!(wait_for(&mut attached, "ready").contains("30 100"));
    attached.resize(132, 43).expect("sent");
    let (out, _, code) = finish(&mut attached);
    assert!(out.contains("43 132"), "{out:?}");
    assert_eq!(code, Some(3));
}

#[test]
fn a_signal_from_the_keyboard_ends_the_program() {
    let server = Server::start();
    // With a handler of its own, because a shell may lose a signal that comes just before it forks.
    let script = "trap 'exit 130' INT; echo ready; while :; do sleep 0.05; done";
    let (_, mut attached) = open(&server, &request(true, &["sh", "-c", script]));
    wait_for(&mut attached, "ready");
    attached.input(&[3]).expect("sent");
    assert_eq!(finish(&mut attached).2, Some(130));
}

#[test]
fn a_background_child_that_keeps_the_pipe_does_not_keep_the_session() {
    let server = Server::start();
    let script = "sleep 1000 & echo $!; exit 4";
    let (_, mut attached) = open(&server, &request(false, &["sh", "-c", script]));
    let (out, _, code) = finish(&mut attached);
    assert_eq!(code, Some(4));
    let child = nix::unistd::Pid::from_raw(out.trim().parse().expect("a pid"));
    nix::sys::signal::kill(child, nix::sys::signal::Signal::SIGKILL).expect("it still sleeps");
}

#[test]
fn a_client_that_goes_away_ends_the_program() {
    let server = Server::start();
    let (_, attached) = open(&server, &request(false, &["sleep", "1000"]));
    drop(attached);
    assert_eq!(server.node.next_kill(), "sleep");
}

#[test]
fn a_slow_client_slows_the_program_and_loses_nothing() {
    let server = Server::start();
    let count = 2_000_000;
    let done = server.prefix().join("done");
    let script = format!("seq {count}; : > {}", done.display());
    let (_, mut attached) = open(&server, &request(false, &["sh", "-c", &script]));
    // That nothing happens can only be waited for; unhindered, the program needs a tenth of this.
    std::thread::sleep(Duration::from_secs(1));
    assert!(!done.exists(), "14 MB went into some buffer");
    let (out, err, code) = finish(&mut attached);
    assert_eq!((out.lines().count(), err.as_str(), code), (count, "", Some(0)));
    assert!(out.ends_with(&format!("{count}\n")));
}

#[test]
fn a_session_can_be_deleted_by_somebody_else() {
    let server = Server::start();
    let (session, mut attached) =
        open(&server, &request(false, &["sh", "-c", "echo ready; exec sleep 1000"]));
    wait_for(&mut attached, "ready");
    let path = format!("/v1/ms/web/exec/sessions/{}", session.session_id);
    let mut stream = std::os::unix::net::UnixStream::connect(server.socket()).expect("the server listens");
    let request = format!("DELETE {path} HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n");
    std::io::Write::write_all(&mut stream, request.as_bytes()).expect("the server reads");
    let mut answer = String::new();
    std::io::Read::read_to_string(&mut stream, &mut answer).expect("the server answers");
    assert!(answer.starts_with("HTTP/1.1 200"), "{answer}");
    assert_eq!(server.node.next_kill(), "sh");
    assert_eq!(finish(&mut attached).2, None);
}

#[test]
fn a_program_that_is_not_there_is_an_error_of_the_creation() {
    let server = Server::start();
    let refused = client(&server).exec("web", &request(false, &["no-such-program"])).expect_err("none");
    assert!(matches!(refused, ClientError::Api(body) if body.code == "NOT_FOUND"));
}

#[test]
fn a_program_that_does_not_start_in_time_is_given_up() {
    let server = Server::start();
    let start = Instant::now();
    let refused = client(&server).exec("web", &request(true, &["never-starts"])).expect_err("too late");
    assert!(matches!(refused, ClientError::Api(body) if body.code == "EXEC_START_TIMEOUT"));
    assert!((10..30).contains(&start.elapsed().as_secs()));
}

#[test]
fn a_session_that_nobody_attaches_to_expires() {
    let server = Server::start();
    client(&server).exec("web", &request(false, &["sleep", "1000"])).expect("a session");
    assert_eq!(server.node.next_kill(), "sleep");
}

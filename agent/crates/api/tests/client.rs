//! The client half against the server: answers, refusals, and no server at all.

mod common;

use common::Server;
use edgelet_api::client::{Client, ClientError, LogFilter};
use edgelet_api::node::LogStream;
use edgelet_api::wire::{ExecSessionRequest, ImagePullRequest, OperationState};
use std::os::unix::net::UnixListener;
use std::time::Duration;

fn client(server: &Server) -> Client {
    Client::new(&server.socket(), common::PATIENCE)
}

#[test]
fn answers_arrive() {
    let server = Server::start();
    let client = client(&server);
    assert_eq!(client.version().expect("an answer").version, "9.9.9");
    assert_eq!(client.status().expect("an answer")["edgeletDaemon"], "RUNNING");
    assert_eq!(client.info().expect("an answer")["namespace"], "default");
    assert_eq!(client.microservices("all").expect("an answer")["items"][0]["name"], "web");
    assert_eq!(client.stop("edgelet.web").expect("an answer")["state"], "STOPPED");
    assert_eq!(client.restart("edgelet.web").expect("an answer")["generation"], 2);
    client.kill("web", Some("HUP")).expect("an answer");
    assert_eq!(server.node.signals(), [1]);
    let request =
        ImagePullRequest { image: "redis".into(), registry_id: None, platform: None, background: None };
    assert_eq!(client.pull(&request).expect("an answer").status, OperationState::Succeeded);
    assert_eq!(client.images().expect("an answer")["count"], 2);
    assert_eq!(client.prune_images().expect("an answer")["deletedCount"], 1);
    client.delete("web", false).expect("an answer");
}

#[test]
fn a_refusal_carries_the_servers_words() {
    let server = Server::start();
    let refused = client(&server).microservice("no/bo?dy").expect_err("there is none");
    let ClientError::Api(body) = refused else { panic!("{refused:?}") };
    assert_eq!(body.code, "NOT_FOUND");
    assert_eq!(body.details.map(|details| details.remedy).as_deref(), Some("needs-input"));
    let refused = client(&server).validate("kind: [").expect_err("not YAML");
    assert!(matches!(refused, ClientError::Api(body) if body.code == "INVALID_ARGUMENT"));
    let refused = client(&server).follow_logs("nobody", &LogFilter::default()).err().expect("none");
    assert!(matches!(refused, ClientError::Api(body) if body.code == "NOT_FOUND"));
}

#[test]
fn an_absent_daemon_is_told_from_a_broken_one() {
    let directory = tempfile::tempdir().expect("a directory");
    let socket = directory.path().join("s");
    let client = Client::new(&socket, Duration::from_millis(300));
    assert!(matches!(client.version(), Err(ClientError::Unreachable { .. })));

    let listener = UnixListener::bind(&socket).expect("a socket");
    assert!(matches!(client.version(), Err(ClientError::Timeout)), "it accepts and says nothing");
    let answers = std::thread::spawn(move || {
        // The connection of the call that timed out waits first.
        let _ = listener.accept();
        for answer in [
            "",
            "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nhi",
            "HTTP/1.1 500 No\r\nContent-Length: 0\r\n\r\n",
        ] {
            let (mut stream, _) = listener.accept().expect("a client");
            let mut request = [0; 1024];
            let _ = std::io::Read::read(&mut stream, &mut request);
            std::io::Write::write_all(&mut stream, answer.as_bytes()).expect("the client reads");
        }
    });
    let patient = Client::new(&socket, common::PATIENCE);
    let said = [patient.version(), patient.version(), patient.version()];
    answers.join().expect("no panic");
    assert!(
        matches!(
            said,
            [
                Err(ClientError::Broken(_) | ClientError::Protocol(_)),
                Err(ClientError::Protocol(_)),
                Err(ClientError::Protocol(_))
            ]
        ),
        "{said:?}"
    );
}

#[test]
fn a_daemon_without_room_is_unreachable_and_nobody_waits() {
    let directory = tempfile::tempdir().expect("a directory");
    let socket = directory.path().join("s");
    let listener = UnixListener::bind(&socket).expect("a socket");
    // Nobody accepts, so the kernel's queue fills up; it is made short, for those who may open few files.
    let short = nix::sys::socket::Backlog::new(4).expect("a length");
    nix::sys::socket::listen(&listener, short).expect("a shorter queue");
    let mut queued = Vec::new();
    let client = Client::new(&socket, Duration::from_millis(1));
    let full = (0..100).find(|_| {
        let address = nix::sys::socket::UnixAddr::new(&socket).expect("a path");
        let flags = nix::sys::socket::SockFlag::SOCK_NONBLOCK | nix::sys::socket::SockFlag::SOCK_CLOEXEC;
        let kind = nix::sys::socket::SockType::Stream;
        let fd = nix::sys::socket::socket(nix::sys::socket::AddressFamily::Unix, kind, flags, None);
        let fd = fd.expect("a socket");
        let full = nix::sys::socket::connect(std::os::fd::AsRawFd::as_raw_fd(&fd), &address).is_err();
        queued.push(fd);
        full
    });
    assert!(full.is_some(), "the queue has an end");
    assert!(matches!(client.version(), Err(ClientError::Unreachable { .. })));
}

#[test]
fn followed_logs_arrive_as_they_are_written_and_end_with_the_workload() {
    let server = Server::start();
    (0..5).for_each(|number| server.node.log(LogStream::Stdout, &format!("old {number}")));
    let filter = LogFilter { tail: Some(2), ..LogFilter::default() };
    let mut lines = client(&server).follow_logs("web", &filter).expect("a stream");
    let mut next = || lines.next().map(|line| line.expect("a line"));
    assert_eq!(next().map(|line| line.line).as_deref(), Some("old 3"));
    assert_eq!(next().map(|line| line.line).as_deref(), Some("old 4"));
    server.node.log(LogStream::Stderr, "new");
    assert_eq!(next().map(|line| (line.stream, line.line)), Some(("stderr".into(), "new".into())));
    client(&server).stop("web").expect("an answer");
    assert_eq!(next(), None);
    assert_eq!(next(), None);
}

#[test]
fn a_stopping_server_ends_streams_and_kills_what_nobody_attached_to() {
    let mut server = Server::start();
    let mut lines = client(&server).follow_logs("web", &LogFilter::default()).expect("a stream");
    let request = ExecSessionRequest {
        command: vec!["sleep".into(), "1000".into()],
        tty: false,
        stdin: true,
        stdout: true,
        stderr: true,
        cols: None,
        rows: None,
    };
    client(&server).exec("web", &request).expect("a session");
    server.stop();
    assert!(lines.next().is_none());
    assert_eq!(server.node.next_kill(), "sleep");
}

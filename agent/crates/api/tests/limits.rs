//! What a caller may cost: connections, sizes, time.

mod common;

use common::{PATIENCE, Server};
use edgelet_types::limits::{API_BODY_BYTES, API_CONNECTIONS};
use std::io::{Read, Write};
use std::os::unix::net::UnixStream;
use std::time::{Duration, Instant};

fn connect(server: &Server) -> UnixStream {
    let stream = UnixStream::connect(server.socket()).expect("the server listens");
    stream.set_read_timeout(Some(PATIENCE)).expect("a socket");
    stream
}

/// Everything that the server says until it hangs up.
fn answer(stream: &mut UnixStream) -> String {
    let mut answer = Vec::new();
    // A reset after the answer is as good as an end.
    let _ = stream.read_to_end(&mut answer);
    String::from_utf8(answer).expect("text")
}

#[test]
fn a_connection_too_many_is_told_so_and_a_free_place_is_used_again() {
    let server = Server::start();
    let mut held: Vec<UnixStream> = (0..API_CONNECTIONS)
        .map(|_| {
            // A served request proves that the connection has its place.
            let mut stream = connect(&server);
            stream.write_all(b"GET /health/live HTTP/1.1\r\nHost: x\r\n\r\n").expect("the server reads");
            let mut start = [0; 12];
            stream.read_exact(&mut start).expect("the server answers");
            assert_eq!(&start, b"HTTP/1.1 200");
            stream
        })
        .collect();
    let ask = || {
        let mut stream = connect(&server);
        let request = b"GET /health/live HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n";
        // The server may have hung up before it read this.
        let _ = stream.write_all(request);
        answer(&mut stream)
    };
    let refused = ask();
    assert!(refused.starts_with("HTTP/1.1 503") && refused.contains("\"UNAVAILABLE\""), "{refused}");
    drop(held.pop());
    common::eventually("the place is free", || ask().starts_with("HTTP/1.1 200"));
}

#[test]
fn a_body_larger_than_the_limit_is_refused_before_it_is_sent() {
    let server = Server::start();
    let mut stream = connect(&server);
    let head = format!(
        "POST /v1/images:pull HTTP/1.1\r\nHost: x\r\nConnection: close\r\nContent-Length: {}\r\n\r\n",
        API_BODY_BYTES + 1
    );
    stream.write_all(head.as_bytes()).expect("the server reads");
    let answer = answer(&mut stream);
    assert!(answer.starts_with("HTTP/1.1 413") && answer.contains("PAYLOAD_TOO_LARGE"), "{answer}");
}

#[test]
fn a_body_of_unknown_length_is_cut_at_the_limit() {
    let server = Server::start();
    let mut stream = connect(&server);
    let head =
        "POST /v1/images:pull HTTP/1.1\r\nHost: x\r\nConnection: close\r\nTransfer-Encoding: chunked\r\n\r\n";
    stream.write_all(head.as_bytes()).expect("the server reads");
    let chunk = format!("10000\r\n{}\r\n", " ".repeat(0x10000));
    for _ in 0..=API_BODY_BYTES / 0x10000 {
        // The server may stop reading at any time from the limit on.
        if stream.write_all(chunk.as_bytes()).is_err() {
            break;
        }
    }
    let answer = answer(&mut stream);
    assert!(answer.starts_with("HTTP/1.1 413"), "{answer}");
}

#[test]
fn a_caller_who_does_not_finish_its_head_is_cut_off() {
    let server = Server::start();
    let mut stream = connect(&server);
    stream.write_all(b"GET /health/live HTTP/1.1\r\nHost:").expect("the server reads");
    let start = Instant::now();
    let _ = answer(&mut stream);
    let waited = start.elapsed();
    assert!((10..30).contains(&waited.as_secs()), "{waited:?}");
}

#[test]
fn a_caller_who_does_not_finish_its_body_is_told_so() {
    let server = Server::start();
    let mut stream = connect(&server);
    let head = "POST /v1/images:pull HTTP/1.1\r\nHost: x\r\nConnection: close\r\nContent-Length: 9\r\n\r\n{";
    stream.write_all(head.as_bytes()).expect("the server reads");
    let answer = answer(&mut stream);
    assert!(answer.starts_with("HTTP/1.1 408") && answer.contains("REQUEST_TIMEOUT"), "{answer}");
}

#[test]
fn stopping_ends_idle_connections_at_once() {
    let mut server = Server::start();
    let mut idle = connect(&server);
    idle.write_all(b"GET /health/live HTTP/1.1\r\nHost: x\r\n\r\n").expect("the server reads");
    let mut start = [0; 12];
    idle.read_exact(&mut start).expect("the server answers");
    let before = Instant::now();
    server.stop();
    assert!(before.elapsed() < Duration::from_millis(1500), "{:?}", before.elapsed());
    let _ = answer(&mut idle);
}

#[test]
fn another_user_is_refused() {
    let server = Server::start();
    let socket = server.socket();
    // The directory and the socket would stop them first; here only the credentials are asked.
    for path in [server.prefix(), &server.prefix().join("run"), &server.prefix().join("run/edgelet"), &socket]
    {
        let mode = std::os::unix::fs::PermissionsExt::from_mode(0o777);
        std::fs::set_permissions(path, mode).expect("ours");
    }
    // perl-base is part of every Debian, and needs no compiler to become somebody else.
    const SCRIPT: &str = r#"use Socket; socket(S, PF_UNIX, SOCK_STREAM, 0); connect(S, sockaddr_un(shift)) or die $!;
        syswrite(S, "GET /v1/system/version HTTP/1.1\r\nHost: x\r\n\r\n"); print <S>;"#;
    let output = std::process::Command::new("setpriv")
        .args(["--reuid=65534", "--regid=65534", "--clear-groups", "/usr/bin/perl", "-e", SCRIPT])
        .arg(&socket)
        .output()
        .expect("util-linux");
    let answer = String::from_utf8_lossy(&output.stdout);
    assert!(answer.starts_with("HTTP/1.1 403") && answer.contains("FORBIDDEN"), "{output:?}");
}

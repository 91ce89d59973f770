//! The sample workload: a web page that says who serves it. It is what the demo deploys and what the
//! system tests watch, so it logs every request and ends politely.
//!
//! ```text
//! hello            serve on $PORT (8080) until SIGTERM
//! hello env        print the environment that the workload sees
//! ```

#![forbid(unsafe_code)]

use nix::sys::signal::{SigSet, Signal};
use std::io::{self, BufRead, BufReader, Read, Write};
use std::net::{Ipv4Addr, TcpListener, TcpStream};
use std::process::ExitCode;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

fn main() -> ExitCode {
    match std::env::args().nth(1).as_deref() {
        None => match serve() {
            Ok(()) => ExitCode::SUCCESS,
            Err(error) => {
                eprintln!("hello: {error}");
                ExitCode::FAILURE
            }
        },
        Some("env") => {
            for (key, value) in std::env::vars() {
                println!("{key}={value}");
            }
            ExitCode::SUCCESS
        }
        Some(other) => {
            eprintln!("hello: unknown word {other:?}");
            ExitCode::from(2)
        }
    }
}

fn serve() -> io::Result<()> {
    let stop = SigSet::from_iter([Signal::SIGTERM, Signal::SIGINT]);
    // Blocked before any thread exists, so that only the wait below sees them. As the first process of
    // a PID namespace this program would otherwise ignore both.
    stop.thread_block()?;
    let port = std::env::var("PORT").ok().and_then(|port| port.parse().ok()).unwrap_or(8080);
    let listener = TcpListener::bind((Ipv4Addr::UNSPECIFIED, port))?;
    println!("hello listening port={port}");
    std::thread::Builder::new().name("accept".into()).spawn(move || accept(&listener))?;
    let signal = stop.wait()?;
    println!("hello stopping signal={signal}");
    Ok(())
}

fn accept(listener: &TcpListener) {
    let served = AtomicU64::new(0);
    for connection in listener.incoming() {
        let outcome =
            connection.and_then(|stream| answer(stream, served.fetch_add(1, Ordering::Relaxed) + 1));
        if let Err(error) = outcome {
            eprintln!("hello: request failed: {error}");
        }
    }
}

/// One request, one answer, close. Requests longer than 8 KiB are cut, slow ones dropped after 5 s.
fn answer(mut stream: TcpStream, number: u64) -> io::Result<()> {
    stream.set_read_timeout(Some(Duration::from_secs(5)))?;
    let mut lines = BufReader::new(stream.try_clone()?.take(8 << 10)).lines();
    let request = lines.next().transpose()?.unwrap_or_default();
    for line in lines {
        if line?.is_empty() {
            break;
        }
    }
    let path = request.split(' ').nth(1).unwrap_or("?");
    // Logged before the answer leaves: whoever saw the answer finds the line.
    println!("hello request number={number} path={path}");
    let body = format!(
        "<!doctype html><title>edgelet</title><h1>Hello from {}</h1><p>Request {number} of this instance.</p>\n",
        std::env::var("EDGELET_MICROSERVICE_NAME").unwrap_or_else(|_| "a container".into()),
    );
    write!(
        stream,
        "HTTP/1.1 200 OK\r\ncontent-type: text/html\r\ncontent-length: {}\r\nconnection: close\r\n\r\n{body}",
        body.len()
    )
}

//! A real service from a real registry: several layers made from Debian's files, pulled, run as its own user
//! and asked over the network.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on fails")]

mod support;

use edgelet_testkit::registry::Registry;
use edgelet_testkit::{run, write};
use std::fs;
use std::io::{Read, Write};
use std::net::{Ipv4Addr, TcpStream};
use std::path::Path;
use std::process::Command;
use support::{Node, free_port, wait_until};

#[test]
fn redis_is_pulled_in_layers_runs_as_its_user_and_answers_also_after_a_power_cut() {
    let registry = Registry::start();
    push_redis(&registry);
    let mut node = Node::new();
    fs::create_dir_all(node.path("etc/edgelet")).unwrap();
    let config = format!("[registries.\"{}\"]\ninsecure = true\n", registry.host());
    write(node.path("etc/edgelet/config.toml"), config);
    node.start();
    let port = free_port();
    node.deploy(&format!(
        "apiVersion: edgelet.iofog.org/v1\nkind: Microservice\nmetadata: {{ name: redis }}\nspec:\n  image: {}/redis:7\n  \
         container:\n    hostNetworkMode: true\n    readOnlyRootFilesystem: true\n    capDrop: [ALL]\n    memoryLimit: 64\n    \
         tmpfs: [ {{ containerPath: /data, size: 8 }} ]\n    commands: [ --port, \"{port}\", --dir, /data ]\n",
        registry.host()
    ));
    wait_until("redis answers", || ask(port, "PING") == Some("+PONG".into()));
    assert_eq!(ask(port, "SET promise kept"), Some("+OK".into()));
    let status = fs::read_to_string(format!("/proc/{}/status", node.init_pids()[0])).unwrap();
    assert!(status.contains("Uid:\t999\t999\t999\t999"), "{status}");
    assert!(status.contains("CapEff:\t0000000000000000") && status.contains("Seccomp:\t2"), "{status}");
    let layers = fs::read_dir(node.path("var/lib/edgelet/layers")).unwrap().count();
    assert_eq!(layers, 3);
    node.cut_power();
    // No registry any more.
    drop(registry);
    node.start();
    wait_until("redis answers", || ask(port, "PING") == Some("+PONG".into()));
}

/// Three layers: the C library and what else it is linked to, the program, its configuration.
fn push_redis(registry: &Registry) {
    let work = tempfile::tempdir().unwrap();
    let layout = work.path().join("layout");
    let image = format!("{}:7", layout.display());
    // Debian's server is the same file under another name, in a package that starts nothing.
    let program = Path::new("/usr/bin/redis-check-rdb");
    umoci(&["init", "--layout", layout.to_str().unwrap()]);
    umoci(&["new", "--image", &image]);
    umoci(&["insert", "--image", &image, libraries(work.path(), program).to_str().unwrap(), "/"]);
    let bin = work.path().join("program");
    copy(program, &bin.join("usr/bin/redis-server"));
    umoci(&["insert", "--image", &image, bin.to_str().unwrap(), "/"]);
    let etc = work.path().join("configuration");
    fs::create_dir_all(etc.join("etc")).unwrap();
    fs::create_dir_all(etc.join("data")).unwrap();
    write(etc.join("etc/passwd"), "root:x:0:0::/:/bin/sh\nredis:x:999:999::/data:/bin/false\n");
    write(etc.join("etc/group"), "root:x:0:\nredis:x:999:\n");
    write(etc.join("etc/redis.conf"), "save \"\"\nappendonly no\nbind 127.0.0.1\n");
    umoci(&["insert", "--image", &image, etc.to_str().unwrap(), "/"]);
    umoci(&[
        "config",
        "--image",
        &image,
        "--config.user",
        "redis",
        "--config.entrypoint",
        "redis-server",
        "--config.entrypoint",
        "/etc/redis.conf",
        "--config.env",
        "PATH=/usr/bin",
    ]);
    registry.copy(&format!("oci:{image}"), "redis:7", &[]);
}

/// Everything that the program is linked to, under the names it is looked for by.
fn libraries(work: &Path, program: &Path) -> std::path::PathBuf {
    let root = work.join("libraries");
    let listed = String::from_utf8(run(Command::new("ldd").arg(program)).stdout).unwrap();
    for path in listed.split_whitespace().filter(|word| word.starts_with('/')) {
        copy(Path::new(path), &root.join(path.trim_start_matches('/')));
    }
    root
}

fn copy(from: &Path, to: &Path) {
    fs::create_dir_all(to.parent().unwrap()).unwrap();
    fs::copy(from, to).unwrap();
}

fn umoci(arguments: &[&str]) {
    run(Command::new("umoci").args(arguments));
}

/// One inline command of the Redis protocol, and the first line of the answer.
fn ask(port: u16, command: &str) -> Option<String> {
    let mut stream = TcpStream::connect((Ipv4Addr::LOCALHOST, port)).ok()?;
    stream.set_read_timeout(Some(std::time::Duration::from_secs(5))).ok()?;
    write!(stream, "{command}\r\nQUIT\r\n").ok()?;
    let mut answer = String::new();
    stream.read_to_string(&mut answer).ok()?;
    answer.lines().next().map(str::to_owned)
}

//! Results, errors and exit codes of every command.

mod support;

use serde_json::{Value, json};
use std::io::{BufRead, BufReader, Write};
use std::process::Stdio;
use support::common::{Server, busybox_id};
use support::{command, run, run_with_input};

use edgelet_api::node::{LogStream, Phase};

const MANIFEST: &str =
    "apiVersion: edgelet.iofog.org/v1\nkind: Microservice\nmetadata: {name: hello}\nspec: {image: hello:1}\n";

#[test]
fn help_is_a_result_and_hides_the_daemon() {
    let nowhere = std::path::Path::new("/nonexistent");
    for args in [&[][..], &["--help"][..], &["ms"][..]] {
        let said = run(nowhere, args);
        assert_eq!((said.code, said.err.as_str()), (0, ""));
        assert!(said.out.contains("Usage: edgelet") && !said.out.contains("daemon  "), "{}", said.out);
    }
    let said = run(nowhere, &["daemon"]);
    assert_eq!((said.code, said.out.as_str()), (42, "daemon at /nonexistent\n"));
}

#[test]
fn wrong_words_are_exit_2_in_the_wanted_format() {
    let nowhere = std::path::Path::new("/nonexistent");
    for args in [
        &["fly"][..],
        &["ms", "inspect"][..],
        &["ms", "logs", "web", "--tail", "0"][..],
        &["--timeout", "soon", "ms", "ls"][..],
        &["ms", "ls", "--source", "moon"][..],
    ] {
        let said = run(nowhere, args);
        assert_eq!((said.code, said.out.as_str()), (2, ""), "{args:?}");
        assert!(
            said.err.starts_with("Error[INVALID_ARGUMENT]: ") && said.err.lines().count() == 2,
            "{said:?}"
        );
        let json: Vec<&str> = [&["-o", "json"], args].concat();
        assert_eq!(run(nowhere, &json).error()["remedy"], "needs-input");
    }
}

#[test]
fn an_absent_daemon_is_exit_10_with_a_hint() {
    let nowhere = tempfile::tempdir().expect("a directory");
    for args in
        [&["ms", "ls"][..], &["system", "status"][..], &["image", "ls"][..], &["ms", "logs", "web", "-f"][..]]
    {
        let said = run(nowhere.path(), args);
        assert_eq!((said.code, said.out.as_str()), (10, ""), "{args:?}");
        assert!(
            said.err.starts_with("Error[DAEMON_UNAVAILABLE]: ") && said.err.contains("edgelet daemon"),
            "{said:?}"
        );
    }
    let said = run(nowhere.path(), &["ms", "ls", "-o", "json"]);
    assert_eq!((said.code, said.error()["code"].clone()), (10, json!("DAEMON_UNAVAILABLE")));
    let said = run(nowhere.path(), &["ms", "ls", "-o", "yaml"]);
    assert!(said.err.contains("code: DAEMON_UNAVAILABLE"), "{said:?}");
}

#[test]
fn versions_are_shown_with_and_without_the_daemon() {
    let server = Server::start();
    for args in [&["version"][..], &["system", "version"][..], &["--version"][..]] {
        let both = run(server.prefix(), &[args, &["-o", "json"]].concat()).json();
        assert_eq!(
            both["cli"],
            json!({"version": "1.2.3", "buildTime": "2026-11-20T00:00:00Z", "gitCommit": "1234567"})
        );
        assert_eq!(
            (&both["daemon"]["version"], &both["daemon"]["allowedContainerEngine"]),
            (&json!("9.9.9"), &json!("edgelet"))
        );
    }
    let nowhere = tempfile::tempdir().expect("a directory");
    let alone = run(nowhere.path(), &["version", "-o", "json"]).json();
    assert!(alone["daemon"]["error"].as_str().is_some_and(|text| text.contains("not reachable")));
    assert_eq!(run(nowhere.path(), &["version"]).code, 0);
}

#[test]
fn the_default_configuration_is_written_once_and_never_again() {
    let node = tempfile::tempdir().expect("a directory");
    assert_eq!(run(node.path(), &["init-config", "-o", "json"]).json()["written"], true);
    let path = node.path().join("etc/edgelet/config.toml");
    let text = std::fs::read_to_string(&path).expect("written");
    assert_eq!(text, edgelet_types::config::Config::DEFAULT_FILE);
    let mode = std::os::unix::fs::PermissionsExt::mode(
        &std::fs::metadata(&path).expect("it is there").permissions(),
    );
    assert_eq!(mode & 0o777, 0o600);
    std::fs::OpenOptions::new()
        .append(true)
        .open(&path)
        .and_then(|mut file| file.write_all(b"# mine\n"))
        .expect("ours");
    assert_eq!(run(node.path(), &["init-config", "-o", "json"]).json()["written"], false);
    assert!(std::fs::read_to_string(&path).expect("still there").ends_with("# mine\n"));
    let left: Vec<_> = std::fs::read_dir(path.parent().expect("a parent")).expect("a directory").collect();
    assert_eq!(left.len(), 1, "{left:?}");
}

#[test]
fn the_node_is_described() {
    let server = Server::start();
    let status = run(server.prefix(), &["system", "status", "-o", "json"]).json();
    assert_eq!(status["edgeletDaemon"], "RUNNING");
    let human = run(server.prefix(), &["system", "status"]).out;
    assert!(
        human.contains("edgelet memory         9.00 MiB")
            && human.contains("edgelet cpu            0.25 cores"),
        "{human}"
    );
    assert!(!human.contains("host disk"), "what was not measured is not shown: {human}");
    let yaml = run(server.prefix(), &["system", "info", "-o", "yaml"]);
    assert!(yaml.out.lines().any(|line| line == "namespace: default"), "{yaml:?}");
}

#[test]
fn microservices_are_listed_and_inspected() {
    let server = Server::start();
    let list = run(server.prefix(), &["ms", "ls", "-o", "json"]).json();
    let uuid = "00000000-0000-4000-8000-000000000000";
    let want = json!({"items": [{"uuid": uuid, "application": "edgelet", "name": "web", "state": "RUNNING",
        "containerId": "00000000000000000000000000000000", "image": "docker.io/library/busybox:1.36", "type": "local"}]});
    assert_eq!(list, want);
    let table = run(server.prefix(), &["ms", "ls"]).out;
    let lines: Vec<&str> = table.lines().collect();
    assert_eq!(lines.len(), 2, "{table}");
    let column = |title: &str| lines[0].find(title).expect("a column");
    assert_eq!(&lines[1][column("NAME")..column("STATE")].trim_end(), &"web");
    assert_eq!(
        run(server.prefix(), &["ms", "ls", "--source", "managed", "-o", "json"]).json(),
        json!({"items": []})
    );

    let full: Value = serde_json::from_str(&run(server.prefix(), &["ms", "inspect", "web"]).out)
        .expect("JSON for people too");
    assert_eq!((&full["uuid"], &full["desiredState"]), (&json!(uuid), &json!("running")));
    let card = run(server.prefix(), &["ms", "inspect", "edgelet.web", "--summary"]).out;
    assert!(card.contains("name       edgelet.web\n"), "{card}");
    let missing = run(server.prefix(), &["ms", "inspect", "nobody", "-o", "json"]);
    assert_eq!((missing.code, missing.error()["code"].clone()), (4, json!("NOT_FOUND")));
}

#[test]
fn lifecycle_commands_wait_for_what_they_ask() {
    let server = Server::start();
    let state =
        |args: &[&str]| run(server.prefix(), &[args, &["-o", "json"]].concat()).json()["state"].clone();
    assert_eq!(state(&["ms", "stop", "web"]), "STOPPED");
    let conflict = run(server.prefix(), &["ms", "kill", "web"]);
    assert_eq!(conflict.code, 5, "{conflict:?}");
    assert_eq!(state(&["ms", "start", "web"]), "RUNNING");
    assert_eq!(state(&["ms", "restart", "web"]), "RUNNING");
    let human = run(server.prefix(), &["ms", "kill", "web", "--signal", "USR1"]);
    assert_eq!((human.code, human.out.as_str()), (0, "edgelet.web was sent USR1\n"));
    assert_eq!(server.node.signals(), [10]);
    assert_eq!(run(server.prefix(), &["ms", "kill", "web", "-s", "NOPE"]).code, 2);

    server.node.script([Phase::Stopping, Phase::Stopping, Phase::Stopping, Phase::Stopped]);
    let waited = run(server.prefix(), &["ms", "stop", "web"]);
    assert_eq!((waited.code, waited.out.as_str()), (0, "edgelet.web stopped\n"));
    assert_eq!(waited.err, "stop edgelet.web: stopping …\n", "plain lines, none twice");
    server.node.script(vec![Phase::Stopping; 100]);
    let late = run(server.prefix(), &["ms", "stop", "web", "--quiet", "--timeout", "300ms"]);
    assert_eq!(late.code, 1, "{late:?}");
    assert!(late.err.starts_with("Error[TIMED_OUT]: stop edgelet.web"), "{late:?}");
    server.node.script([]);

    assert_eq!(run(server.prefix(), &["ms", "rm", "web", "--cleanup"]).out, "edgelet.web removed\n");
    assert_eq!(run(server.prefix(), &["ms", "rm", "web"]).code, 4);
}

#[test]
fn logs_are_shown_and_followed_to_their_end() {
    let server = Server::start();
    (0..3).for_each(|number| server.node.log(LogStream::Stdout, &format!("line {number}")));
    assert_eq!(run(server.prefix(), &["ms", "logs", "web", "--tail", "2"]).out, "line 1\nline 2\n");
    let stamped =
        run(server.prefix(), &["ms", "logs", "web", "--timestamps", "--since", "1970-01-01T00:00:02Z"]).out;
    assert_eq!(stamped, "1970-01-01T00:00:02.000Z line 2\n");
    assert_eq!(
        run(server.prefix(), &["ms", "logs", "web", "-o", "json"]).json()["entries"][0]["line"],
        "line 0"
    );
    assert_eq!(run(server.prefix(), &["ms", "logs", "web", "-f", "-o", "json"]).code, 2);
    assert_eq!(run(server.prefix(), &["ms", "logs", "web", "--since", "yesterday"]).code, 2);
    assert_eq!(run(server.prefix(), &["ms", "logs", "nobody", "-f"]).code, 4);

    let mut follower = command(server.prefix(), &["ms", "logs", "-f", "web"])
        .stdout(Stdio::piped())
        .spawn()
        .expect("it starts");
    let mut lines = BufReader::new(follower.stdout.take().expect("piped")).lines();
    let mut next = || lines.next().map(|line| line.expect("text"));
    for number in 0..3 {
        assert_eq!(next(), Some(format!("line {number}")));
    }
    server.node.log(LogStream::Stderr, "news");
    assert_eq!(next().as_deref(), Some("news"), "a line arrives while the command runs");
    assert_eq!(run(server.prefix(), &["ms", "stop", "web"]).code, 0);
    assert_eq!(next(), None);
    assert!(follower.wait().expect("it ends").success());
}

#[test]
fn images_are_listed_pulled_loaded_removed_and_pruned() {
    let server = Server::start();
    let run = |args: &[&str]| run(server.prefix(), args);
    assert_eq!(run(&["image", "ls", "-o", "json"]).json()["items"][0]["shortId"], busybox_id().short());
    assert!(run(&["image", "ls"]).out.contains("docker.io/library/busybox  1.36"));
    let pulled = run(&["image", "pull", "redis:7", "-p", "linux/arm64", "--quiet", "-o", "json"]).json();
    assert_eq!((&pulled["status"], &pulled["platform"]), (&json!("succeeded"), &json!("linux/arm64")));
    let plain = run(&["image", "pull", "nginx"]);
    assert!(plain.out.starts_with("docker.io/library/nginx@sha256:"), "{plain:?}");
    assert!(plain.err.ends_with("pull docker.io/library/nginx:latest: done\n"), "{plain:?}");
    assert!(!plain.err.contains('\r'), "no moving output without a terminal: {plain:?}");
    let denied = run(&["image", "pull", "denied.example/a", "--quiet", "-o", "json"]);
    assert_eq!((denied.code, denied.error()["remedy"].clone()), (1, json!("needs-person")));
    assert_eq!(run(&["image", "pull", "UPPER"]).code, 2);
    assert_eq!(run(&["image", "pull", "a", "-r", "4"]).code, 6);

    let archive = server.prefix().join("image.tar");
    std::fs::File::create(&archive).expect("a file");
    let loaded =
        run(&["image", "load", "--quiet", "-o", "json", "-f", archive.to_str().expect("text")]).json();
    assert_eq!(
        (&loaded["count"], &loaded["loaded"][0]["name"]),
        (&json!(1), &json!("docker.io/library/loaded:1"))
    );
    assert_eq!(run(&["image", "load", "-f", "/nonexistent.tar"]).code, 2);

    assert_eq!(run(&["image", "rm", "busybox:1.36"]).code, 5);
    assert_eq!(run(&["image", "rm", "redis:7"]).out, "docker.io/library/redis:7 removed\n");
    assert_eq!(run(&["image", "rm", "redis:7"]).code, 4);
    assert_eq!(run(&["image", "prune"]).out, "1 images removed, 5.00 MiB reclaimed\n");
}

#[test]
fn a_deployment_is_followed_through_its_stages() {
    let server = Server::start();
    let file = server.prefix().join("hello.yaml");
    std::fs::File::create(&file).and_then(|mut file| file.write_all(MANIFEST.as_bytes())).expect("a file");
    let file = file.to_str().expect("text");
    server.node.script([
        Phase::Queued,
        Phase::Pulling { percent: Some(40) },
        Phase::Starting,
        Phase::Running,
    ]);
    let said = run(server.prefix(), &["deploy", "-f", file, "-o", "json"]);
    let result: Value = serde_json::from_str(&said.out).expect("JSON");
    assert_eq!((said.code, &result["status"], &result["stage"]), (0, &json!("succeeded"), &json!("done")));
    assert_eq!(result["stages"], json!(["persisting", "pulling", "starting", "done"]));
    assert!(said.err.contains("deploy hello: pulling 40 % …\n"), "{said:?}");

    server.node.script([Phase::Pulling { percent: None }, Phase::Failed]);
    let failed = run(server.prefix(), &["deploy", "-f", file, "--quiet", "-o", "json"]);
    assert_eq!((failed.code, failed.error()["remedy"].clone()), (1, json!("retry-later")));
    let message = failed.error()["message"].clone();
    assert_eq!(message, "deploy hello: pulling: pull: registry: no route to host");
}

#[test]
fn a_manifest_is_checked_without_being_applied() {
    let server = Server::start();
    let said = run_with_input(
        server.prefix(),
        &["deploy", "--dry-run", "-f", "-", "-o", "json"],
        MANIFEST.as_bytes(),
    );
    assert_eq!(
        said.json(),
        json!({"valid": true, "kind": "Microservice", "name": "hello", "apiVersion": "edgelet.iofog.org/v1"})
    );
    let bad = MANIFEST.replace("image:", "imago:");
    let said = run_with_input(server.prefix(), &["deploy", "--dry-run", "-f", "-"], bad.as_bytes());
    assert!(said.code == 2 && said.err.contains("spec.imago") && said.err.contains("hint: "), "{said:?}");
    let unsupported = MANIFEST.replace("image: hello:1", "image: hello:1, models: {}");
    let said = run_with_input(server.prefix(), &["deploy", "-f", "-"], unsupported.as_bytes());
    assert_eq!(said.code, 6, "{said:?}");
    assert_eq!(run(server.prefix(), &["deploy", "-f", "/nonexistent.yaml"]).code, 2);
    assert_eq!(
        run(server.prefix(), &["ms", "ls", "-o", "json"]).json()["items"].as_array().map(Vec::len),
        Some(1)
    );
}

#[test]
fn completion_scripts_are_printed() {
    let nowhere = std::path::Path::new("/nonexistent");
    for shell in ["bash", "zsh", "fish"] {
        let said = run(nowhere, &["completion", shell]);
        assert!(said.code == 0 && said.out.contains("edgelet") && said.out.len() > 1000, "{shell}");
    }
    assert_eq!(run(nowhere, &["completion", "dos"]).code, 2);
}

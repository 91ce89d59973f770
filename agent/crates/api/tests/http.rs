//! Routes, shapes and errors, as bytes on a real socket.

mod common;

use common::{Server, busybox_id, eventually};
use edgelet_api::node::{LogStream, Phase};
use serde_json::{Value, json};
use std::io::{Read, Write};
use std::os::unix::net::UnixStream;

/// Sends a request (`METHOD path`, further headers, body) and reads the answer: status, head, body.
fn exchange(server: &Server, line: &str, headers: &[&str], body: &str) -> (u16, String, Value) {
    let mut request = format!("{line} HTTP/1.1\r\nHost: x\r\nConnection: close\r\n");
    for header in headers {
        request.push_str(&format!("{header}\r\n"));
    }
    if !body.is_empty() {
        request.push_str(&format!("Content-Length: {}\r\n", body.len()));
    }
    request.push_str(&format!("\r\n{body}"));
    let mut stream = UnixStream::connect(server.socket()).expect("the server listens");
    stream.write_all(request.as_bytes()).expect("the server reads");
    let mut answer = String::new();
    stream.read_to_string(&mut answer).expect("the server answers");
    let (head, body) = answer.split_once("\r\n\r\n").expect("a head");
    let status = head.split(' ').nth(1).and_then(|status| status.parse().ok()).expect("a status");
    (status, head.to_lowercase(), serde_json::from_str(body).expect("a JSON body"))
}

fn get(server: &Server, path: &str) -> (u16, Value) {
    let (status, _, body) = exchange(server, &format!("GET {path}"), &[], "");
    (status, body)
}

fn post(server: &Server, path: &str, body: &Value) -> (u16, Value) {
    let body = if body.is_null() { String::new() } else { body.to_string() };
    let (status, _, body) = exchange(server, &format!("POST {path}"), &[], &body);
    (status, body)
}

fn post_manifest(server: &Server, path: &str, fields: &[(&str, &str)]) -> (u16, Value) {
    let mut body = String::new();
    for (name, value) in fields {
        body.push_str(&format!("--b\r\nContent-Disposition: form-data; name=\"{name}\"\r\n\r\n{value}\r\n"));
    }
    body.push_str("--b--\r\n");
    let kind = "Content-Type: multipart/form-data; boundary=b";
    let (status, _, body) = exchange(server, &format!("POST {path}"), &[kind], &body);
    (status, body)
}

const MANIFEST: &str = "apiVersion: edgelet.iofog.org/v1\nkind: Microservice\nmetadata: {name: hello}\nspec: {image: hello:1, container: {hostNetworkMode: true}}\n";

#[test]
fn health_needs_no_envelope_and_readiness_is_a_real_state() {
    let server = Server::start();
    assert_eq!(get(&server, "/health/live"), (200, json!({"status": "ok", "localApiPhase": "listening"})));
    assert_eq!(get(&server, "/health/ready"), (200, json!({"status": "ready"})));
    server.node.set_ready(false);
    let (status, body) = get(&server, "/health/ready");
    assert_eq!((status, &body["status"]), (503, &json!("not_ready")));
    assert_eq!(body["detail"], "recovery is going on");
}

#[test]
fn system_routes_have_the_documented_shapes() {
    let server = Server::start();
    let (_, version) = get(&server, "/v1/system/version");
    let want = json!({"version": "9.9.9", "buildTime": "2026-11-20T00:00:00Z", "gitCommit": "abcdef0",
        "allowedContainerEngine": "edgelet", "allowedEngines": ["edgelet"]});
    assert_eq!(version, json!({"success": true, "data": want}));
    let (_, status) = get(&server, "/v1/system/status");
    assert_eq!(status["edgeletDaemon"], "RUNNING");
    assert_eq!(status["runningMicroservices"], "1");
    assert_eq!(status["edgeletStackMemory"], 9 << 20);
    assert_eq!(status["diskUsage"], "3.00");
    let (_, info) = get(&server, "/v1/system/info");
    assert_eq!(info["data"]["diskDirectory"], "/var/lib/edgelet");
    assert_eq!(info["data"]["logFilesLevel"], "INFO");
}

#[test]
fn microservices_are_listed_inspected_and_driven() {
    let server = Server::start();
    let (_, list) = get(&server, "/v1/ms?source=local");
    assert_eq!(list["data"]["count"], 1);
    let item = &list["data"]["items"][0];
    assert_eq!(
        (&item["name"], &item["state"], &item["source"]),
        (&json!("web"), &json!("RUNNING"), &json!("local"))
    );
    assert_eq!(get(&server, "/v1/ms?source=managed").1["data"]["items"], json!([]));

    let uuid = item["uuid"].as_str().expect("a text").to_owned();
    for selector in [uuid.as_str(), "edgelet.web", "web", "00000000"] {
        let (status, detail) = get(&server, &format!("/v1/ms/{selector}"));
        assert_eq!((status, detail["data"]["uuid"].as_str()), (200, Some(uuid.as_str())), "{selector}");
    }
    let (_, detail) = get(&server, "/v1/ms/web");
    assert_eq!(detail["data"]["errorMessage"], "");
    assert!(detail["data"].get("restartCount").is_none() && detail["data"].get("podId").is_none());
    assert_eq!(detail["data"]["raw"]["engineInspect"]["pid"], 4242);

    let act = |verb: &str| post(&server, &format!("/v1/ms/web/{verb}"), &Value::Null);
    assert_eq!(act("stop").1["data"]["state"], "STOPPED");
    assert_eq!(act("kill").0, 409);
    assert_eq!(act("start").1["data"]["state"], "RUNNING");
    assert_eq!(act("restart").1["data"]["generation"], 2);
    assert_eq!(act("kill").0, 200);
    assert_eq!(post(&server, "/v1/ms/web/kill", &json!({"signal": "SIGTERM"})).0, 200);
    assert_eq!(server.node.signals(), [9, 15]);
    assert_eq!(exchange(&server, "DELETE /v1/ms/web?cleanup=true", &[], "").0, 200);
    assert_eq!(get(&server, "/v1/ms/web").0, 404);
}

#[test]
fn errors_come_in_the_envelope_with_who_must_act() {
    let server = Server::start();
    let cases = [
        ("GET /v1/nowhere", "", 404, "NOT_FOUND"),
        ("GET /", "", 404, "NOT_FOUND"),
        ("GET /v1/ms/nobody", "", 404, "NOT_FOUND"),
        ("PUT /v1/ms", "", 405, "METHOD_NOT_ALLOWED"),
        ("POST /v1/system/status", "", 405, "METHOD_NOT_ALLOWED"),
        ("GET /v1/images:pull", "", 405, "METHOD_NOT_ALLOWED"),
        ("GET /v1/ms?source=moon", "", 400, "INVALID_ARGUMENT"),
        ("GET /v1/ms?sauce=local", "", 400, "INVALID_ARGUMENT"),
        ("GET /v1/ms/web/logs?tailLines=0", "", 400, "INVALID_ARGUMENT"),
        ("GET /v1/ms/web/logs?since=yesterday", "", 400, "INVALID_ARGUMENT"),
        ("GET /v1/ms/web/logs:stream", "", 400, "INVALID_ARGUMENT"),
        ("POST /v1/ms/web/kill", "{\"signal\":\"SIGNOPE\"}", 400, "INVALID_ARGUMENT"),
        ("POST /v1/ms/web/kill", "{\"sig\":1}", 400, "INVALID_ARGUMENT"),
        ("POST /v1/ms/web/kill", "{", 400, "INVALID_ARGUMENT"),
        ("POST /v1/images:pull", "{}", 400, "INVALID_ARGUMENT"),
        ("POST /v1/images:pull", "{\"image\":\"UPPER\"}", 400, "INVALID_ARGUMENT"),
        ("POST /v1/images:pull", "{\"image\":\"a\",\"registryId\":4}", 501, "NOT_IMPLEMENTED"),
        ("POST /v1/images:load", "{\"path\":\"relative.tar\"}", 400, "INVALID_ARGUMENT"),
        ("POST /v1/images:remove", "{\"selector\":\"nope\"}", 404, "NOT_FOUND"),
        ("POST /v1/images:prune?mode=all", "", 400, "INVALID_ARGUMENT"),
        ("GET /v1/images:pull/img_pull_00000000", "", 404, "NOT_FOUND"),
        ("GET /v1/deploy/microservices:apply/dep_apply_00000000", "", 404, "NOT_FOUND"),
        ("POST /v1/ms/web/exec/sessions", "{\"command\":[]}", 400, "INVALID_ARGUMENT"),
        ("POST /v1/ms/web/exec/sessions", "{\"command\":[\"sh\"],\"cols\":0}", 400, "INVALID_ARGUMENT"),
        ("GET /v1/ms/web/exec/sessions/abc", "", 404, "NOT_FOUND"),
    ];
    for (head, body, status, code) in cases {
        let (got, _, answer) = exchange(&server, head, &[], body);
        assert_eq!((got, &answer["error"]["code"]), (status, &json!(code)), "{head} {body}: {answer}");
        assert_eq!(answer["success"], false, "{head}");
        assert!(answer["error"]["message"].as_str().is_some_and(|text| !text.is_empty()), "{head}");
    }
    let (_, missing) = get(&server, "/v1/ms/nobody");
    assert_eq!(missing["error"]["details"], json!({"reason": "NOT_FOUND", "remedy": "needs-input"}));
}

#[test]
fn the_request_id_is_echoed_or_made() {
    let server = Server::start();
    let (_, head, body) = exchange(&server, "GET /v1/nowhere", &["X-Request-Id: abc-1"], "");
    assert!(head.contains("x-request-id: abc-1"), "{head}");
    assert_eq!(body["error"]["requestId"], "abc-1");
    let (_, head, _) = exchange(&server, "GET /health/live", &[], "");
    let made = head.split("x-request-id: ").nth(1).and_then(|rest| rest.lines().next()).expect("a header");
    assert_eq!(made.len(), 36, "{made}");
}

#[test]
fn images_are_listed_pulled_loaded_removed_and_pruned() {
    let server = Server::start();
    let (_, list) = get(&server, "/v1/images");
    let item = &list["data"]["items"][0];
    assert_eq!((&item["repository"], &item["tag"]), (&json!("docker.io/library/busybox"), &json!("1.36")));
    assert_eq!((&item["contentSizeBytes"], &item["diskUsageHuman"]), (&json!(2 << 20), &json!("4.00 MiB")));

    let (status, pulled) =
        post(&server, "/v1/images:pull", &json!({"image": "redis:7", "platform": "linux/arm64"}));
    assert_eq!((status, &pulled["data"]["status"]), (200, &json!("succeeded")), "{pulled}");
    assert_eq!(pulled["data"]["platform"], "linux/arm64");
    let (status, denied) = post(&server, "/v1/images:pull", &json!({"image": "denied.example/a"}));
    assert_eq!((status, &denied["error"]["details"]["remedy"]), (500, &json!("needs-person")), "{denied}");

    server.node.set_registry_up(false);
    let (_, started) = post(&server, "/v1/images:pull", &json!({"image": "denied.example/a", "async": true}));
    let id = started["data"]["operationId"].as_str().expect("an id").to_owned();
    assert!(id.starts_with("img_pull_") && id.len() == "img_pull_".len() + 8, "{id}");
    let status = || get(&server, &format!("/v1/images:pull/{id}")).1["data"].clone();
    eventually("the pull reports progress", || status()["progress"] == 25);
    assert_eq!(status()["status"], "running");
    server.node.set_registry_up(true);
    eventually("the pull ends", || status()["status"] == "failed");
    assert_eq!(status()["errorDetail"]["details"]["reason"], "REGISTRY_DENIED");

    let archive = server.prefix().join("image.tar");
    std::fs::File::create(&archive).and_then(|mut file| file.write_all(b"tar")).expect("a file");
    let (status, accepted) = post(&server, "/v1/images:load", &json!({"path": archive}));
    assert_eq!(status, 202);
    let id = accepted["data"]["operationId"].as_str().expect("an id").to_owned();
    let status = || get(&server, &format!("/v1/images:load/{id}")).1["data"].clone();
    eventually("the load ends", || status()["status"] == "succeeded");
    assert_eq!(status()["loaded"][0]["name"], "docker.io/library/loaded:1");
    assert_eq!(get(&server, &format!("/v1/images:pull/{id}")).0, 404, "a load is not a pull");

    let (status, used) = post(&server, "/v1/images:remove", &json!({"selector": busybox_id().short()}));
    assert_eq!((status, &used["error"]["code"]), (409, &json!("CONFLICT")));
    let (status, removed) = post(&server, "/v1/images:remove", &json!({"selector": "redis:7"}));
    assert_eq!((status, &removed["data"]["removed"]), (200, &json!("docker.io/library/redis:7")));
    let (_, pruned) = post(&server, "/v1/images:prune?mode=dangling", &Value::Null);
    assert_eq!(
        (&pruned["data"]["deletedCount"], &pruned["data"]["spaceReclaimedHuman"]),
        (&json!(1), &json!("5.00 MiB"))
    );
}

#[test]
fn a_deployment_goes_through_its_stages() {
    let server = Server::start();
    let phases = [
        Phase::Queued,
        Phase::Pulling { percent: Some(40) },
        Phase::Creating,
        Phase::Starting,
        Phase::Running,
    ];
    server.node.script(phases);
    let (status, started) = post_manifest(
        &server,
        "/v1/deploy/microservices:apply",
        &[("manifest", MANIFEST), ("sourceName", "hello.yaml")],
    );
    assert_eq!((status, &started["data"]["status"]), (202, &json!("running")), "{started}");
    let id = started["data"]["operationId"].as_str().expect("an id").to_owned();
    assert!(id.starts_with("dep_apply_"), "{id}");
    let stages: Vec<Value> = (0..6)
        .map(|_| get(&server, &format!("/v1/deploy/microservices:apply/{id}")).1["data"]["stage"].clone())
        .collect();
    assert_eq!(json!(stages), json!(["persisting", "pulling", "creating", "starting", "done", "done"]));
    let (_, list) = get(&server, "/v1/deploy/microservices");
    assert_eq!(list["data"]["count"], 2);
    assert_eq!(get(&server, "/v1/deploy/microservices/hello").1["data"]["name"], "hello");
    assert_eq!(exchange(&server, "DELETE /v1/deploy/microservices/hello", &[], "").0, 200);
    assert_eq!(get(&server, "/v1/deploy/microservices/hello").0, 404);
}

#[test]
fn a_deployment_that_fails_says_why_and_stays_failed() {
    let server = Server::start();
    server.node.script([Phase::Pulling { percent: None }, Phase::Failed, Phase::Running]);
    let (_, started) = post_manifest(&server, "/v1/deploy/microservices:apply", &[("manifest", MANIFEST)]);
    let id = started["data"]["operationId"].as_str().expect("an id").to_owned();
    let status = || get(&server, &format!("/v1/deploy/microservices:apply/{id}"));
    assert_eq!(status().1["data"]["status"], "running");
    for _ in 0..2 {
        let (http, body) = status();
        assert_eq!((http, &body["success"], &body["data"]["status"]), (200, &json!(true), &json!("failed")));
        assert_eq!(body["data"]["stage"], "pulling");
        assert_eq!(body["data"]["error"]["details"]["reason"], "REGISTRY_UNREACHABLE");
    }
}

#[test]
fn a_manifest_is_validated_without_being_applied() {
    let server = Server::start();
    let valid =
        json!({"valid": true, "kind": "Microservice", "name": "hello", "apiVersion": "edgelet.iofog.org/v1"});
    let (status, body) =
        post_manifest(&server, "/v1/deploy/microservices:validate", &[("manifest", MANIFEST)]);
    assert_eq!((status, &body["data"]), (200, &valid));
    let fields = [("manifest", MANIFEST), ("dryRun", "true")];
    assert_eq!(post_manifest(&server, "/v1/deploy/microservices:apply", &fields), (200, body));
    assert_eq!(get(&server, "/v1/ms").1["data"]["count"], 1, "nothing was applied");

    let bad = MANIFEST.replace("hostNetworkMode", "hostNetwork");
    let (status, body) = post_manifest(&server, "/v1/deploy/microservices:validate", &[("manifest", &bad)]);
    assert_eq!((status, &body["error"]["code"]), (400, &json!("INVALID_ARGUMENT")));
    let message = body["error"]["message"].as_str().expect("a text");
    assert!(message.contains("spec.container.hostNetwork"), "{message}");
    let bad = MANIFEST.replace("hostNetworkMode: true", "healthCheck: {}");
    let (status, body) = post_manifest(&server, "/v1/deploy/microservices:apply", &[("manifest", &bad)]);
    assert_eq!((status, &body["error"]["details"]["reason"]), (501, &json!("NOT_SUPPORTED")));
    for fields in [&[("sourceName", "x")][..], &[("manifest", MANIFEST), ("surprise", "x")][..]] {
        assert_eq!(post_manifest(&server, "/v1/deploy/microservices:apply", fields).0, 400);
    }
}

#[test]
fn logs_are_bounded_by_tail_and_time() {
    let server = Server::start();
    for number in 0..2500 {
        let stream = if number % 2 == 0 { LogStream::Stdout } else { LogStream::Stderr };
        server.node.log(stream, &format!("line {number}"));
    }
    let lines = |query: &str| -> Vec<Value> {
        let (status, body) = get(&server, &format!("/v1/ms/web/logs?{query}"));
        assert_eq!(status, 200, "{body}");
        body["data"]["entries"].as_array().expect("a list").clone()
    };
    assert_eq!(lines("").len(), 2500, "batches are joined");
    let tail = lines("tailLines=2&timestamps=true");
    assert_eq!(tail[1], json!({"ts": "1970-01-01T00:41:39.000Z", "stream": "stderr", "line": "line 2499"}));
    let window = lines("since=1970-01-01T00:00:10Z&until=1970-01-01T00:00:20Z&tail=3");
    let text: Vec<_> = window.iter().map(|line| line["line"].as_str().expect("a text")).collect();
    assert_eq!(text, ["line 18", "line 19", "line 20"]);
}

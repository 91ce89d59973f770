//! Registries that break, lie, stall or attack. Each gives an error that names its cause, and leaves
//! neither a visible image nor anything in staging.

use crate::support::layout::{Codec, Image, OCI_INDEX, OCI_MANIFEST, Tar, descriptor};
use crate::support::node::{Node, quick};
use crate::support::scripted::{Reply, Request, Scripted};
use edgelet_image::{CancelToken, Silent};
use edgelet_types::config::Registry;
use edgelet_types::{Digest, Fault, ImageRef, Reason, UnixMillis, limits};
use serde_json::json;
use std::io::Write;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::{Duration, Instant};

fn plain() -> Registry {
    Registry { insecure: true, ..Registry::default() }
}

fn small() -> Image {
    Image::new().layer(Tar::new().file("file", "content").done(), Codec::Gzip)
}

fn layer_path(image: &Image) -> String {
    format!("/blobs/{}", Digest::of(&image.blobs()[0]))
}

/// Pulls from a registry with that script and says how it failed.
fn failure(image: &Image, script: impl Fn(&Request) -> Option<Reply> + Send + Sync + 'static) -> Fault {
    let registry = Scripted::serving(image, script);
    let node = Node::new().knows(&registry.host(), plain());
    let error = node.pull(&format!("{}/app:1", registry.host())).expect_err("a bad registry");
    node.assert_untouched();
    assert_eq!(node.layers(), Vec::<String>::new());
    error.into()
}

/// As [`failure`], with `reply` for the only layer.
fn layer_failure(image: &Image, reply: impl Fn() -> Reply + Send + Sync + 'static) -> Fault {
    let path = layer_path(image);
    failure(image, move |request| request.path.ends_with(&path).then(&reply))
}

/// As [`failure`], with that text for the manifest.
fn manifest_failure(manifest: impl Into<Vec<u8>>) -> Fault {
    let manifest = manifest.into();
    failure(&small(), move |request| {
        let reply = || Reply::ok(manifest.clone()).header("content-type", OCI_MANIFEST);
        request.path.contains("/manifests/").then(reply)
    })
}

#[track_caller]
fn assert_fault(fault: &Fault, reason: Reason, text: &str) {
    assert_eq!(fault.reason, reason, "{fault}");
    assert!(fault.message.contains(text), "{fault}");
}

#[test]
fn a_layer_that_breaks_off_is_tried_again_and_then_reported() {
    let blob = small().blobs()[0].clone();
    let half = blob[..blob.len() / 2].to_vec();
    let fault = layer_failure(&small(), move || Reply::ok(half.clone()).claiming(blob.len() as u64));
    assert_fault(&fault, Reason::RegistryUnreachable, "transfer");
    let fault = layer_failure(&small(), || Reply::ok(""));
    assert_fault(&fault, Reason::RegistryUnreachable, "ended after 0 of");
}

#[test]
fn a_layer_that_breaks_off_once_arrives_in_the_end() {
    let image = small();
    let (path, blob, count) = (layer_path(&image), image.blobs()[0].clone(), AtomicU32::new(0));
    let registry = Scripted::serving(&image, move |request| {
        let first = request.path.ends_with(&path) && count.fetch_add(1, Ordering::SeqCst) == 0;
        first.then(|| Reply::ok(&blob[..9]).claiming(blob.len() as u64))
    });
    let node = Node::new().knows(&registry.host(), plain());
    let record = node.pull(&format!("{}/app:1", registry.host())).expect("the second attempt");
    assert_eq!(std::fs::read(node.layer(&record, 0).join("file")).expect("unpacked"), b"content");
    assert_eq!(registry.count("/blobs/"), 3, "configuration, layer, the rest of the layer");
}

/// A layer of a megabyte that does not compress, and its blob.
fn large() -> (Image, Vec<u8>) {
    let mut seed = 1_u32;
    let mut random = || {
        seed = seed.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        seed.to_be_bytes()[0]
    };
    let noise: Vec<u8> = (0..1 << 20).map(|_| random()).collect();
    let image = Image::new().layer(Tar::new().file("file", &noise).done(), Codec::Gzip);
    let blob = image.blobs()[0].clone();
    (image, blob)
}

#[test]
fn a_link_that_breaks_again_and_again_carries_every_byte_once() {
    const PIECE: usize = 100 << 10;
    let (image, blob) = large();
    let (path, whole) = (layer_path(&image), blob.clone());
    let registry = Scripted::serving(&image, move |request| {
        request.path.ends_with(&path).then(|| Reply::of(&whole, request).breaking_after(PIECE))
    });
    let node = Node::new().knows(&registry.host(), plain());
    node.pull(&format!("{}/app:1", registry.host())).expect("piece by piece");
    let froms: Vec<usize> = registry.requests().iter().skip(2).map(Request::from).collect();
    let want: Vec<usize> = (0..blob.len()).step_by(PIECE).collect();
    assert_eq!(froms, want);
}

#[test]
fn a_registry_without_ranges_is_read_from_the_beginning_and_one_that_lies_is_not_believed() {
    let (image, blob) = large();
    let (path, whole, count) = (layer_path(&image), blob.clone(), AtomicU32::new(0));
    let registry = Scripted::serving(&image, move |request| {
        let reply = || match count.fetch_add(1, Ordering::SeqCst) {
            0 => Reply::ok(&whole[..]).breaking_after(500_000),
            _ => Reply::ok(&whole[..]),
        };
        request.path.ends_with(&path).then(reply)
    });
    let node = Node::new().knows(&registry.host(), plain());
    node.pull(&format!("{}/app:1", registry.host())).expect("from the beginning");

    let path = layer_path(&image);
    let fault = failure(&image, move |request| {
        let reply = || match request.from() {
            0 => Reply::ok(&blob[..]).breaking_after(100_000),
            from => Reply::status(206, &blob[from - 1..])
                .header("content-range", format!("bytes {}-/*", from - 1)),
        };
        request.path.ends_with(&path).then(reply)
    });
    assert_fault(&fault, Reason::RegistryProtocol, "asked for bytes from");
}

#[test]
fn other_bytes_than_promised_are_a_digest_mismatch_wherever_they_differ() {
    let image = small();
    let blob = image.blobs()[0].clone();
    for at in 0..blob.len() {
        let mut damaged = blob.clone();
        damaged[at] ^= 0x10;
        let fault = layer_failure(&image, move || Reply::ok(damaged.clone()));
        assert_fault(&fault, Reason::DigestMismatch, "content is sha256:");
    }
    let longer = [&blob[..], b"more"].concat();
    let fault = layer_failure(&image, move || Reply::ok(longer.clone()));
    assert_fault(&fault, Reason::DigestMismatch, "longer than the promised");
    let config = Digest::of(&image.config_json()).to_string();
    let fault = failure(&image, move |request| {
        let other = || Reply::ok(vec![b' '; 10]);
        request.path.ends_with(&config).then(other)
    });
    assert_fault(&fault, Reason::DigestMismatch, "configuration");
}

#[test]
fn a_layer_with_the_right_digest_and_other_content_than_its_configuration_says_is_refused() {
    let (mut image, other) = (small(), Tar::new().file("file", "CONTENT").done());
    let honest = image.config_json();
    image.layers[0].0 = other;
    let blobs = image.blobs();
    let manifest = json!({
        "schemaVersion": 2,
        "config": descriptor("application/vnd.oci.image.config.v1+json", &honest),
        "layers": [descriptor(Codec::Gzip.media_type(), &blobs[0])],
    });
    let (manifest, config) = (manifest.to_string(), Digest::of(&honest).to_string());
    let fault = failure(&image, move |request| match request.path.contains("/manifests/") {
        true => Some(Reply::ok(manifest.clone())),
        false => request.path.ends_with(&config).then(|| Reply::ok(honest.clone())),
    });
    assert_fault(&fault, Reason::DigestMismatch, "unpacked content is sha256:");
}

#[test]
fn a_pinned_manifest_must_be_the_pinned_one() {
    let registry = Scripted::serving(&small(), |request| {
        request.path.contains("/manifests/").then(|| Reply::ok(small().blobs()[2].clone()))
    });
    let node = Node::new().knows(&registry.host(), plain());
    let pinned = format!("{}/app@{}", registry.host(), Digest::of(b"another"));
    let fault = Fault::from(node.pull(&pinned).expect_err("not the pinned one"));
    assert_fault(&fault, Reason::DigestMismatch, "manifest sha256:");
    node.assert_untouched();
}

#[test]
fn manifests_that_are_none_are_refused_by_what_they_are() {
    let cases: [(&str, Reason, &str); 5] = [
        ("<html>login</html>", Reason::ImageInvalid, "not a valid manifest"),
        ("", Reason::ImageInvalid, "not a valid manifest"),
        (r#"{"schemaVersion":1,"fsLayers":[]}"#, Reason::NotSupported, "schema 1"),
        (r#"{"schemaVersion":2}"#, Reason::ImageInvalid, "missing field `config`"),
        (r#"{"schemaVersion":2,"mediaType":"x/y"}"#, Reason::ImageInvalid, "contradicts itself"),
    ];
    for (manifest, reason, text) in cases {
        assert_fault(&manifest_failure(manifest), reason, text);
    }
    let deep = [vec![b'['; 100_000], vec![b']'; 100_000]].concat();
    assert_fault(&manifest_failure(deep), Reason::ImageInvalid, "not a valid manifest");
}

#[test]
fn a_manifest_over_the_limit_is_not_buffered() {
    let limit = limits::MANIFEST_BYTES;
    let claimed = failure(&small(), move |request| {
        request.path.contains("/manifests/").then(|| Reply::ok("{").claiming(limit + 1))
    });
    assert_fault(&claimed, Reason::ImageInvalid, "a manifest is larger than 4194304 B");
    let body = vec![b' '; usize::try_from(limit).expect("fits") + 1];
    assert_fault(&manifest_failure(body), Reason::ImageInvalid, "a manifest is larger than");
    let endless = failure(&small(), move |request| {
        let chunked = || Reply::ok("{").header("x", "y").claiming(u64::MAX / 4);
        request.path.contains("/manifests/").then(chunked)
    });
    assert_fault(&endless, Reason::ImageInvalid, "larger than");
}

#[test]
fn indexes_in_indexes_end() {
    let entry = |digest: &str, size: usize| {
        json!({"schemaVersion": 2, "mediaType": OCI_INDEX, "manifests": [
            {"mediaType": OCI_INDEX, "digest": digest, "size": size}]})
    };
    // Each index names the next one, which a hostile registry can go on with for ever.
    let mut text = entry(&Digest::of(b"").to_string(), 0).to_string();
    let mut chain = std::collections::BTreeMap::new();
    for _ in 0..6 {
        let digest = Digest::of(text.as_bytes()).to_string();
        chain.insert(digest.clone(), text.clone());
        text = entry(&digest, text.len()).to_string();
    }
    let fault = failure(&small(), move |request| {
        let last = request.path.rsplit('/').next().unwrap_or_default();
        let body = chain.get(last).unwrap_or(&text).clone();
        let reply = || Reply::ok(body).header("content-type", OCI_INDEX);
        request.path.contains("/manifests/").then(reply)
    });
    assert_fault(&fault, Reason::ImageInvalid, "indexes in indexes");
}

#[test]
fn refusals_are_told_apart() {
    let error = |code: &str| json!({"errors": [{"code": code, "message": "said\nso"}]}).to_string();
    let cases = [
        (403, "DENIED", Reason::RegistryDenied, "access denied (DENIED: saidso)"),
        (401, "UNAUTHORIZED", Reason::RegistryDenied, "does not say how to authenticate"),
        (404, "MANIFEST_UNKNOWN", Reason::ImageNotFound, "not found (MANIFEST_UNKNOWN: saidso)"),
        (418, "TEAPOT", Reason::RegistryProtocol, "http 418 (TEAPOT: saidso)"),
        (500, "UNKNOWN", Reason::RegistryUnreachable, "http 500 (UNKNOWN: saidso)"),
    ];
    for (status, code, reason, text) in cases {
        let body = error(code);
        let fault = failure(&small(), move |_| Some(Reply::status(status, body.clone())));
        assert_fault(&fault, reason, text);
        assert_fault(&fault, reason, "manifest 1: ");
    }
    let fault = failure(&small(), |_| Some(Reply::status(500, vec![b'<'; 1 << 20])));
    assert!(fault.message.len() < 300, "{fault}");
}

#[test]
fn a_busy_registry_is_asked_again_when_it_says() {
    let count = AtomicU32::new(0);
    let registry = Scripted::serving(&small(), move |_| {
        let first = count.fetch_add(1, Ordering::SeqCst) == 0;
        first.then(|| Reply::status(429, "").header("retry-after", 1))
    });
    let node = Node::new().knows(&registry.host(), plain());
    let started = Instant::now();
    node.pull(&format!("{}/app:1", registry.host())).expect("the second attempt");
    assert!(started.elapsed() >= Duration::from_secs(1), "{:?}", started.elapsed());
}

#[test]
fn a_registry_that_is_always_busy_is_given_up() {
    let registry = Scripted::serving(&small(), |_| Some(Reply::status(503, "")));
    let node = Node::new().knows(&registry.host(), plain());
    let fault = Fault::from(node.pull(&format!("{}/app:1", registry.host())).expect_err("busy"));
    assert_fault(&fault, Reason::RegistryUnreachable, "http 503");
    assert_eq!(registry.count("/manifests/"), 3, "as many attempts as configured");
}

#[test]
fn nobody_there_is_unreachable_and_says_where() {
    let node = Node::new().knows("127.0.0.1:1", plain());
    let fault = Fault::from(node.pull("127.0.0.1:1/app").expect_err("nobody listens"));
    assert_fault(&fault, Reason::RegistryUnreachable, "reach 127.0.0.1:1: Connection refused");
}

#[test]
fn a_registry_that_never_answers_is_given_up_after_the_time_for_an_answer() {
    let listener = std::net::TcpListener::bind("127.0.0.1:0").expect("bind");
    let host = format!("127.0.0.1:{}", listener.local_addr().expect("address").port());
    let mut options = quick();
    (options.attempts, options.timeouts.answer) = (1, Duration::from_millis(300));
    let node = Node::with(options).knows(&host, plain());
    let started = Instant::now();
    let fault = Fault::from(node.pull(&format!("{host}/app")).expect_err("silence"));
    assert_fault(&fault, Reason::RegistryUnreachable, "timeout");
    assert!(started.elapsed() < Duration::from_secs(5), "{:?}", started.elapsed());
}

#[test]
fn a_registry_that_speaks_no_http_is_told_apart_from_one_that_is_away() {
    let listener = std::net::TcpListener::bind("127.0.0.1:0").expect("bind");
    let host = format!("127.0.0.1:{}", listener.local_addr().expect("address").port());
    std::thread::spawn(move || {
        for stream in listener.incoming().map_while(Result::ok) {
            let _ = (&stream).write_all(b"SSH-2.0-OpenSSH_9.2\r\n\r\n");
        }
    });
    let node = Node::new().knows(&host, plain());
    let fault = Fault::from(node.pull(&format!("{host}/app")).expect_err("not http"));
    assert_fault(&fault, Reason::RegistryProtocol, "makes no sense");
    let node = Node::new();
    let fault = Fault::from(node.pull(&format!("{host}/app")).expect_err("not tls"));
    assert_fault(&fault, Reason::RegistryUntrusted, "is not trusted");
}

#[test]
fn redirects_are_bounded_and_take_no_credentials_along() {
    let fault = failure(&small(), |request| {
        Some(Reply::status(307, "").header("location", format!("{}x", request.path)))
    });
    assert_fault(&fault, Reason::RegistryProtocol, "more than 5 redirects");

    let image = small();
    let (blob, path) = (image.blobs()[0].clone(), layer_path(&image));
    let storage = Scripted::listening(move |_| Some(Reply::ok(blob.clone())));
    let location = format!("http://{}/storage?signature=1", storage.host());
    let registry = Scripted::serving(&image, move |request| {
        if !request.headers.contains_key("authorization") {
            return Some(Reply::status(401, "").header("www-authenticate", "Basic realm=\"r\""));
        }
        let redirect = || Reply::status(307, "").header("location", &location);
        request.path.ends_with(&path).then(redirect)
    });
    let with_password = Registry {
        username: Some("device".to_owned()),
        password: Some(edgelet_types::config::Secret::new("hunter2")),
        ..plain()
    };
    let node = Node::new().knows(&registry.host(), with_password);
    node.pull(&format!("{}/app:1", registry.host())).expect("through the redirect");
    let [request] = &storage.requests()[..] else { panic!("{:?}", storage.requests()) };
    assert_eq!(request.headers.get("authorization"), None);
    let refused = registry.requests().iter().filter(|r| !r.headers.contains_key("authorization")).count();
    assert_eq!(refused, 1, "the password is remembered");
}

#[test]
fn a_wrong_password_is_sent_once() {
    let registry = Scripted::serving(&small(), |_| {
        Some(Reply::status(401, "").header("www-authenticate", "Basic realm=\"r\""))
    });
    let wrong = Registry { username: Some("device".to_owned()), ..plain() };
    let node = Node::new().knows(&registry.host(), wrong);
    let fault = Fault::from(node.pull(&format!("{}/app:1", registry.host())).expect_err("denied"));
    assert_fault(&fault, Reason::RegistryDenied, "access denied");
    assert_eq!(registry.requests().len(), 2);
}

#[test]
fn a_layer_that_stops_arriving_is_given_up_after_the_time_for_progress() {
    let blob = small().blobs()[0].clone();
    let started = Instant::now();
    let fault = layer_failure(&small(), move || Reply::ok(&blob[..9]).claiming(blob.len() as u64).holding());
    assert_fault(&fault, Reason::RegistryUnreachable, "timeout");
    // Three attempts of a second each, and some waiting between.
    assert!(started.elapsed() < Duration::from_secs(10), "{:?}", started.elapsed());
}

#[test]
fn a_cancelled_pull_ends_at_once_although_the_registry_is_silent() {
    let image = small();
    let (path, blob) = (layer_path(&image), image.blobs()[0].clone());
    let (reached, waiting) = std::sync::mpsc::channel();
    let registry = Scripted::serving(&image, move |request| {
        let stall = request.path.ends_with(&path);
        stall.then(|| {
            let _ = reached.send(());
            Reply::ok(&blob[..9]).claiming(blob.len() as u64).holding()
        })
    });
    let mut options = quick();
    options.timeouts.progress = Duration::from_secs(3600);
    let node = Node::with(options).knows(&registry.host(), plain());
    let cancel = CancelToken::new();
    let reference = ImageRef::parse(&format!("{}/app:1", registry.host())).expect("reference");
    std::thread::scope(|scope| {
        let (node, token) = (&node, &cancel);
        let pull = scope.spawn(move || {
            node.store.pull(&reference, &node.platform, &node.registries, UnixMillis(1), &Silent, token)
        });
        waiting.recv().expect("the layer is asked for");
        cancel.cancel();
        let fault = Fault::from(pull.join().expect("no panic").expect_err("cancelled"));
        assert_fault(&fault, Reason::Cancelled, "cancelled");
    });
    node.assert_untouched();
}

#[test]
fn bombs_are_stopped_by_ratio_before_they_fill_the_disk() {
    // A gigabyte of zeros in one megabyte of gzip, and the archive around it, cut where it may be.
    let mut header = tar::Header::new_gnu();
    header.set_size(1 << 40);
    header.set_entry_type(tar::EntryType::Regular);
    header.as_old_mut().name[..4].copy_from_slice(b"bomb");
    header.set_mode(0o644);
    header.set_uid(0);
    header.set_gid(0);
    header.set_mtime(0);
    header.set_cksum();
    let mut encoder = zstd::Encoder::new(Vec::new(), 1).expect("encoder");
    encoder.write_all(header.as_bytes()).expect("memory");
    let zeros = vec![0; 1 << 20];
    for _ in 0..1024 {
        encoder.write_all(&zeros).expect("memory");
    }
    let blob = encoder.finish().expect("memory");
    assert!((blob.len() as u64) < limits::LAYER_RATIO_FROM_BYTES / limits::LAYER_RATIO);
    let image = small();
    let config = image.config_json();
    let manifest = json!({
        "schemaVersion": 2,
        "config": descriptor("application/vnd.oci.image.config.v1+json", &config),
        "layers": [descriptor(Codec::Zstd.media_type(), &blob)],
    });
    let (manifest, digest) = (manifest.to_string(), Digest::of(&blob).to_string());
    let fault = failure(&image, move |request| match request.path.contains("/manifests/") {
        true => Some(Reply::ok(manifest.clone())),
        false => request.path.ends_with(&digest).then(|| Reply::ok(blob.clone())),
    });
    assert_fault(&fault, Reason::ImageInvalid, "unpacks to more than 1024 times its size");
}

//! Pulls from a real registry.

use crate::support::layout::{Codec, Image, OciLayout, Tar};
use crate::support::node::Node;
use crate::support::registry::{Registry, Setup};
use crate::support::tokens::TokenService;
use crate::support::{run, write};
use edgelet_image::{Access, CancelToken, LayerDone, Progress};
use edgelet_types::config::Secret;
use edgelet_types::{Digest, Fault, ImageRef, Platform, Reason, UnixMillis};
use std::collections::BTreeMap;
use std::os::unix::fs::MetadataExt;
use std::process::Command;
use std::sync::Mutex;

/// Three layers in three codecs: a program, a change to it, and a removal.
fn three_layers() -> Image {
    let busybox = std::fs::read("/bin/busybox").expect("busybox-static");
    let base = Tar::new().dir("bin", 0o755).program("bin/busybox", &busybox).symlink("bin/sh", "busybox");
    let change = Tar::new().dir("etc", 0o755).file("etc/old", "1").file("etc/keep", "2");
    let removal = Tar::new().dir("etc", 0o755).file("etc/.wh.old", "").file("etc/new", "3");
    Image::new()
        .layer(base.done(), Codec::Gzip)
        .layer(change.done(), Codec::Zstd)
        .layer(removal.done(), Codec::Plain)
}

fn one_file(name: &str, content: &str) -> Image {
    Image::new().layer(Tar::new().file(name, content).done(), Codec::Gzip)
}

/// A registry that has `image` as `app:1`, and a node that knows it.
fn with_app(image: &Image) -> (Registry, Node, String) {
    let registry = Registry::start();
    registry.push(&OciLayout::new().add(image, "it"), "it", "app:1");
    let node = Node::new().knows(&registry.host(), registry.config());
    let name = format!("{}/app:1", registry.host());
    (registry, node, name)
}

/// Remembers how each layer came to stand and how far it got.
#[derive(Default)]
struct Recorder {
    done: Mutex<Vec<LayerDone>>,
    bytes: Mutex<BTreeMap<Digest, (u64, Option<u64>)>>,
}

impl Progress for Recorder {
    fn layer(&self, layer: &Digest, done_bytes: u64, total_bytes: Option<u64>) {
        self.bytes.lock().expect("no panic").insert(*layer, (done_bytes, total_bytes));
    }

    fn layer_done(&self, _layer: &Digest, how: LayerDone) {
        self.done.lock().expect("no panic").push(how);
    }
}

fn pull_recorded(node: &Node, name: &str) -> Recorder {
    let recorder = Recorder::default();
    let reference = ImageRef::parse(name).expect(name);
    let cancel = CancelToken::new();
    let pull =
        node.store.pull(&reference, &node.platform, &node.registries, UnixMillis(1), &recorder, &cancel);
    pull.expect("pull");
    recorder
}

fn refusal(node: &Node, name: &str) -> Fault {
    let fault = node.pull(name).expect_err("a refusal").into();
    node.assert_untouched();
    fault
}

#[test]
fn an_image_of_three_layers_in_three_codecs_stands_after_a_pull() {
    let image = three_layers();
    let (registry, node, name) = with_app(&image);
    let record = node.pull(&name).expect("pull");
    assert_eq!(record.id, Digest::of(&image.config_json()));
    assert_eq!(record.manifest, image.blobs().last().map(|manifest| Digest::of(manifest)));
    assert_eq!(record.names[0].to_string(), format!("{}/app:1", registry.host()));
    assert_eq!(
        (&record.config.command[..], record.created),
        (&["/bin/true".to_owned()][..], UnixMillis::parse("2026-01-01T00:00:00Z"))
    );
    assert_eq!(record.layers.len(), 3);
    let busybox = std::fs::metadata("/bin/busybox").expect("busybox-static").len();
    assert_eq!(record.layers[0].unpacked_bytes, busybox);
    let program = std::fs::metadata(node.layer(&record, 0).join("bin/busybox")).expect("unpacked");
    assert_eq!((program.mode() & 0o7777, program.len(), program.mtime()), (0o755, busybox, 1_000_000_000));
    let whiteout = std::fs::metadata(node.layer(&record, 2).join("etc/old")).expect("a whiteout");
    assert_eq!((whiteout.mode() & 0o170_000, whiteout.rdev()), (0o020_000, 0));
    assert_eq!(node.store.list().expect("list"), [record]);
    assert_eq!(node.staged(), Vec::<String>::new());
}

#[test]
fn a_second_pull_transfers_no_layer_and_changes_nothing() {
    let (_registry, node, name) = with_app(&three_layers());
    let first = pull_recorded(&node, &name);
    assert_eq!(*first.done.lock().expect("no panic"), [LayerDone::Unpacked; 3]);
    let bytes = first.bytes.lock().expect("no panic");
    assert!(bytes.len() == 3 && bytes.values().all(|(done, total)| Some(*done) == *total), "{bytes:?}");
    let before = node.store.list().expect("list");
    assert_eq!(*pull_recorded(&node, &name).done.lock().expect("no panic"), [LayerDone::Present; 3]);
    assert_eq!(node.store.list().expect("list"), before);
}

#[test]
fn images_share_the_layers_that_they_have_in_common() {
    let registry = Registry::start();
    let (base, node) = (Tar::new().file("base", "x").done(), Node::new());
    let node = node.knows(&registry.host(), registry.config());
    for (tag, codec) in [("one", Codec::Gzip), ("two", Codec::Zstd)] {
        // The same content in another compression is the same layer.
        let own = Tar::new().file(tag, "y").done();
        let image = Image::new().layer(base.clone(), codec).layer(own, Codec::Gzip);
        registry.push(&OciLayout::new().add(&image, "it"), "it", &format!("app:{tag}"));
    }
    pull_recorded(&node, &format!("{}/app:one", registry.host()));
    let second = pull_recorded(&node, &format!("{}/app:two", registry.host()));
    let mut done = second.done.into_inner().expect("no panic");
    done.sort_by_key(|how| *how == LayerDone::Unpacked);
    assert_eq!(done, [LayerDone::Present, LayerDone::Unpacked]);
    assert_eq!(node.layers().len(), 3);
}

#[test]
fn the_variant_for_this_platform_is_taken_out_of_an_index() {
    let registry = Registry::start();
    let variant = |architecture: &str, variant: Option<&str>| {
        let image = one_file("arch", &format!("{architecture}{}", variant.unwrap_or_default()));
        Image { architecture: architecture.to_owned(), variant: variant.map(str::to_owned), ..image }
    };
    let images = [
        variant("amd64", None),
        variant("arm", Some("v6")),
        variant("arm", Some("v7")),
        variant("arm64", None),
    ];
    registry.push(&OciLayout::new().add_index(&images, "it"), "it", "multi:1");
    let name = format!("{}/multi:1", registry.host());
    let cases = [
        ("linux/amd64", "amd64"),
        ("linux/arm/v7", "armv7"),
        ("linux/arm/v6", "armv6"),
        ("linux/arm64/v8", "arm64"),
    ];
    for (platform, want) in cases {
        let mut node = Node::new().knows(&registry.host(), registry.config());
        node.platform = Platform::parse(platform).expect(platform);
        let record = node.pull(&name).expect(platform);
        assert_eq!(std::fs::read_to_string(node.layer(&record, 0).join("arch")).ok().as_deref(), Some(want));
    }
    let mut node = Node::new().knows(&registry.host(), registry.config());
    node.platform = Platform::parse("linux/riscv64").expect("platform");
    let fault = refusal(&node, &name);
    assert_eq!(fault.reason, Reason::ImagePlatform);
    assert!(
        fault.message.ends_with(
            "no variant for linux/riscv64; it has linux/amd64, linux/arm/v6, linux/arm/v7, linux/arm64"
        ),
        "{fault}"
    );
    // An image alone, for another machine, is refused as well.
    registry.push(&OciLayout::new().add(&images[1], "it"), "it", "single:1");
    assert_eq!(refusal(&node, &format!("{}/single:1", registry.host())).reason, Reason::ImagePlatform);
}

#[test]
fn dockers_own_formats_are_pulled() {
    let registry = Registry::start();
    let image = one_file("file", "docker");
    let layout = OciLayout::new().add(&image, "it");
    let source = format!("oci:{}:it", layout.path().display());
    registry.copy(&source, "schema2:1", &["--format", "v2s2"]);
    let node = Node::new().knows(&registry.host(), registry.config());
    let record = node.pull(&format!("{}/schema2:1", registry.host())).expect("schema 2");
    assert_eq!(std::fs::read(node.layer(&record, 0).join("file")).expect("unpacked"), b"docker");
}

#[test]
fn what_is_not_there_is_not_found() {
    let (registry, node, _) = with_app(&one_file("a", "b"));
    for name in ["nothing:1", "app:2", &format!("app@{}", Digest::of(b"nothing"))] {
        let fault = refusal(&node, &format!("{}/{name}", registry.host()));
        assert_eq!(fault.reason, Reason::ImageNotFound, "{fault}");
    }
}

#[test]
fn a_digest_pins_what_a_tag_only_names() {
    let (registry, node, name) = with_app(&one_file("file", "old"));
    let old = node.pull(&name).expect("pull");
    let manifest = old.manifest.expect("a manifest");
    registry.push(&OciLayout::new().add(&one_file("file", "new"), "it"), "it", "app:1");
    let pinned = node.pull(&format!("{}/app:1@{manifest}", registry.host())).expect("pinned");
    assert_eq!((pinned.id, pinned.names.len()), (old.id, 2));
    let new = node.pull(&name).expect("pull");
    assert_ne!(new.id, old.id);
    let names = |id| node.store.list().expect("list").into_iter().find(|i| i.id == id).map(|i| i.names.len());
    assert_eq!((names(new.id), names(old.id)), (Some(1), Some(1)), "the tag moved, the digest did not");
}

#[test]
fn damage_in_the_registrys_storage_is_noticed() {
    let image = three_layers();
    let (registry, node, name) = with_app(&image);
    let file = registry.blob_file(&Digest::of(&image.blobs()[0]));
    let mut bytes = std::fs::read(&file).expect("the registry's blob");
    let middle = bytes.len() / 2;
    bytes[middle] ^= 1;
    write(&file, bytes);
    assert_eq!(refusal(&node, &name).reason, Reason::DigestMismatch);
    assert!(!node.layers().contains(&image_diff_id(&image, 0)), "the damaged layer does not stand");
}

fn image_diff_id(image: &Image, index: usize) -> String {
    Digest::of(&image.layers[index].0).to_hex()
}

#[test]
fn https_needs_an_authority_that_is_trusted() {
    let registry = Registry::start_with(&Setup { tls: true, auth: None }, |_| {});
    registry.push(&OciLayout::new().add(&one_file("a", "b"), "it"), "it", "app:1");
    let name = format!("{}/app:1", registry.host());
    let node = Node::new().knows(&registry.host(), registry.config());
    node.pull(&name).expect("with the private authority");

    let fault = refusal(&Node::new(), &name);
    assert_eq!(fault.reason, Reason::RegistryUntrusted, "{fault}");
    let absent = edgelet_types::config::Registry { ca: Some("/nowhere.pem".into()), ..registry.config() };
    let fault = refusal(&Node::new().knows(&registry.host(), absent), &name);
    assert!(fault.message.contains("certificate authority \"/nowhere.pem\""), "{fault}");
    // The certificate is for 127.0.0.1 and for nobody else.
    let other = name.replace("127.0.0.1", "localhost");
    let node = Node::new().knows(&registry.host().replace("127.0.0.1", "localhost"), registry.config());
    let fault = refusal(&node, &other);
    assert_eq!(fault.reason, Reason::RegistryUntrusted, "{fault}");
}

#[test]
fn basic_authentication_takes_the_right_password() {
    let auth = Some("  htpasswd: {realm: test, path: DIR/htpasswd}".to_owned());
    let registry = Registry::start_with(&Setup { tls: true, auth }, |directory| {
        let mut htpasswd = Command::new("htpasswd");
        write(directory.join("htpasswd"), run(htpasswd.args(["-Bbn", "device", "hunter2"])).stdout);
    });
    let layout = OciLayout::new().add(&one_file("a", "b"), "it");
    let source = format!("oci:{}:it", layout.path().display());
    registry.copy(&source, "app:1", &["--dest-creds", "device:hunter2"]);
    let name = format!("{}/app:1", registry.host());
    let with = |username: Option<&str>, password: &str| {
        let config = edgelet_types::config::Registry {
            username: username.map(str::to_owned),
            password: Some(Secret::new(password)),
            ..registry.config()
        };
        Node::new().knows(&registry.host(), config)
    };
    with(Some("device"), "hunter2").pull(&name).expect("the right password");
    let fault = refusal(&with(Some("device"), "wrong"), &name);
    assert_eq!(fault.reason, Reason::RegistryDenied, "{fault}");
    assert!(!fault.message.contains("wrong"), "{fault}");
    let fault = refusal(&with(None, ""), &name);
    assert!(fault.message.ends_with("access denied (no credentials are configured)"), "{fault}");
}

#[test]
fn token_authentication_asks_the_service_that_the_registry_names() {
    let work = tempfile::tempdir().expect("temporary directory");
    let service = TokenService::start(work.path(), "device", "hunter2");
    let setup = Setup { tls: false, auth: Some(service.auth()) };
    let registry = Registry::start_with(&setup, |_| {});
    let layout = OciLayout::new().add(&three_layers(), "it");
    let source = format!("oci:{}:it", layout.path().display());
    registry.copy(&source, "group/app:1", &["--dest-creds", "device:hunter2"]);
    let name = format!("{}/group/app:1", registry.host());
    let asked = service.count();
    let with = |password: &str| {
        let config = edgelet_types::config::Registry {
            username: Some("device".to_owned()),
            password: Some(Secret::new(password)),
            ..registry.config()
        };
        Node::new().knows(&registry.host(), config)
    };
    with("hunter2").pull(&name).expect("a token");
    assert_eq!(service.count() - asked, 1, "one token for manifest, configuration and three layers");
    assert_eq!(refusal(&with("wrong"), &name).reason, Reason::RegistryDenied);
}

#[test]
fn a_token_service_without_encryption_gets_no_password_from_an_encrypted_registry() {
    let work = tempfile::tempdir().expect("temporary directory");
    let service = TokenService::start(work.path(), "device", "hunter2");
    let registry = Registry::start_with(&Setup { tls: true, auth: Some(service.auth()) }, |_| {});
    let config = edgelet_types::config::Registry {
        username: Some("device".to_owned()),
        password: Some(Secret::new("hunter2")),
        ..registry.config()
    };
    let node = Node::new().knows(&registry.host(), config);
    let fault = refusal(&node, &format!("{}/app:1", registry.host()));
    assert_eq!(fault.reason, Reason::RegistryDenied);
    assert!(fault.message.contains("is not reached by https"), "{fault}");
    assert_eq!(service.count(), 0);
}

#[test]
fn an_image_built_by_umoci_runs() {
    let work = tempfile::tempdir().expect("temporary directory");
    let umoci = |args: &[&str]| {
        let mut command = Command::new("umoci");
        run(command.current_dir(work.path()).args(args));
    };
    umoci(&["init", "--layout", "oci"]);
    umoci(&["new", "--image", "oci:box"]);
    umoci(&["insert", "--image", "oci:box", "/bin/busybox", "/bin/busybox"]);
    umoci(&["insert", "--image", "oci:box", "/etc/hostname", "/etc/marker"]);
    umoci(&["insert", "--image", "oci:box", "--whiteout", "/etc/marker"]);
    umoci(&["config", "--image", "oci:box", "--config.entrypoint", "/bin/busybox", "--config.user", "1:1"]);
    let registry = Registry::start();
    registry.copy(&format!("oci:{}/oci:box", work.path().display()), "box:1", &[]);
    let node = Node::new().knows(&registry.host(), registry.config());
    let record = node.pull(&format!("{}/box:1", registry.host())).expect("pull");
    assert_eq!(
        (record.config.user.as_deref(), &record.config.entrypoint[..]),
        (Some("1:1"), &["/bin/busybox".to_owned()][..])
    );
    let target = work.path().join("root");
    std::fs::create_dir(&target).expect("mkdir");
    node.store.mount(&record, &node.layout.scratch().join("c"), &target, Access::default()).expect("mount");
    let output = Command::new("chroot").arg(&target).args(["/bin/busybox", "ls", "/etc"]).output();
    edgelet_image::unmount(&target).expect("unmount");
    let output = output.expect("chroot");
    assert!(output.status.success(), "{output:?}");
    assert_eq!(String::from_utf8_lossy(&output.stdout), "", "the marker was whited out");
}

#[test]
fn pulls_at_the_same_time_make_each_layer_once_and_prune_takes_none_away() {
    let (_registry, node, name) = with_app(&three_layers());
    let stop = std::sync::atomic::AtomicBool::new(false);
    let done = std::thread::scope(|scope| {
        let pruner = scope.spawn(|| {
            let mut rounds = 0;
            while !stop.load(std::sync::atomic::Ordering::SeqCst) {
                let keep = std::collections::BTreeSet::new();
                node.store.prune(&keep, edgelet_image::Prune::Dangling).expect("prune");
                rounds += 1;
            }
            rounds
        });
        let pulls: Vec<_> = (0..6).map(|_| scope.spawn(|| pull_recorded(&node, &name))).collect();
        let recorders: Vec<_> = pulls.into_iter().map(|pull| pull.join().expect("no panic")).collect();
        stop.store(true, std::sync::atomic::Ordering::SeqCst);
        assert!(pruner.join().expect("no panic") > 0);
        recorders
            .into_iter()
            .flat_map(|recorder| recorder.done.into_inner().expect("no panic"))
            .filter(|how| *how == LayerDone::Unpacked)
            .count()
    });
    assert_eq!(done, 3, "each layer was made by one of the pulls");
    assert_eq!((node.layers().len(), node.staged().len()), (3, 0));
}

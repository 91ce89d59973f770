//! Images from files, as the usual tools write them.

use crate::support::layout::{Codec, Image, OciLayout, Tar};
use crate::support::node::Node;
use crate::support::{run, tree, write};
use edgelet_image::{CancelToken, Silent};
use edgelet_types::{Digest, Fault, Reason, UnixMillis};
use serde_json::json;
use std::path::{Path, PathBuf};
use std::process::Command;

fn two_layers() -> Image {
    let (lower, upper) = (Tar::new().file("a", "1").dir("d", 0o755), Tar::new().file("b", "2"));
    Image::new().layer(lower.done(), Codec::Gzip).layer(upper.done(), Codec::Zstd)
}

fn packed(layout: &OciLayout, work: &Path, options: &[&str]) -> PathBuf {
    let path = work.join("archive");
    let mut tar = Command::new("tar");
    tar.arg("-c").args(options).arg("-f").arg(&path).arg("-C").arg(layout.path()).arg(".");
    run(&mut tar);
    path
}

/// Copies with skopeo, which reads and writes most formats that there are.
fn skopeo(source: &str, target: &str) {
    run(Command::new("skopeo").args(["--insecure-policy", "copy", "--quiet", source, target]));
}

#[test]
fn an_oci_layout_is_loaded_from_a_directory_and_from_every_kind_of_archive() {
    let work = tempfile::tempdir().expect("temporary directory");
    let layout = OciLayout::new().add(&two_layers(), "app:1");
    let mut paths = vec![layout.path().to_owned()];
    for (n, options) in [&[][..], &["--gzip"], &["--zstd"], &["--format=pax"]].iter().enumerate() {
        let directory = work.path().join(n.to_string());
        std::fs::create_dir(&directory).expect("mkdir");
        paths.push(packed(&layout, &directory, options));
    }
    let skopeos = work.path().join("skopeo.tar");
    skopeo(
        &format!("oci:{}:app:1", layout.path().display()),
        &format!("oci-archive:{}:app:1", skopeos.display()),
    );
    paths.push(skopeos);
    let mut seen = None;
    for path in paths {
        let node = Node::new();
        let images = node.load(&path).unwrap_or_else(|error| panic!("{path:?}: {}", Fault::from(error)));
        assert_eq!(images.len(), 1, "{path:?}");
        assert_eq!(images[0].names[0].to_string(), "docker.io/library/app:1");
        let listing =
            [0, 1].map(|n| tree::listing(&node.layer(&images[0], n)).into_keys().collect::<Vec<_>>());
        assert_eq!(*seen.get_or_insert_with(|| listing.clone()), listing, "{path:?}");
        assert_eq!(node.staged(), Vec::<String>::new(), "{path:?}");
    }
}

#[test]
fn a_docker_archive_is_loaded_with_all_its_names() {
    let work = tempfile::tempdir().expect("temporary directory");
    // The format knows no zstd.
    let mut image = two_layers();
    image.layers[1].1 = Codec::Gzip;
    let layout = OciLayout::new().add(&image, "it");
    let path = work.path().join("docker.tar");
    skopeo(
        &format!("oci:{}:it", layout.path().display()),
        &format!("docker-archive:{}:example.org/group/app:1", path.display()),
    );
    let node = Node::new();
    let images = node.load(&path).expect("load");
    assert_eq!(images[0].names[0].to_string(), "example.org/group/app:1");
    assert_eq!((images[0].layers.len(), images[0].manifest), (2, None));
    assert_eq!(std::fs::read(node.layer(&images[0], 1).join("b")).expect("unpacked"), b"2");
    assert_eq!(images[0].layers[0].content_bytes, None);
}

/// A docker archive by hand: one configuration, the layers' files, and the names.
fn docker_archive(image: &Image, layers: &[&str], members: impl FnOnce(Tar) -> Tar) -> Vec<u8> {
    let manifest = json!([{"Config": "config.json", "RepoTags": ["app:1", "app:2"], "Layers": layers}]);
    let tar = Tar::new().file("config.json", image.config_json());
    members(tar).file("manifest.json", manifest.to_string()).done()
}

#[test]
fn layers_that_are_links_to_others_are_found() {
    let work = tempfile::tempdir().expect("temporary directory");
    let (path, tar) = (work.path().join("old.tar"), Tar::new().file("a", "1").done());
    let image = Image::new().layer(tar.clone(), Codec::Plain);
    for (name, link) in [("two/layer.tar", "../one/layer.tar"), ("hard", "one/layer.tar")] {
        let archive = docker_archive(&image, &[name], |archive| {
            let archive = archive.file("one/layer.tar", &tar);
            if name == "hard" { archive.hard_link(name, link) } else { archive.symlink(name, link) }
        });
        write(&path, archive);
        let images = Node::new().load(&path).expect("load");
        assert_eq!(images[0].names.len(), 2);
    }
    let looping = docker_archive(&image, &["a"], |archive| archive.symlink("a", "b").symlink("b", "a"));
    write(&path, looping);
    let fault = Fault::from(Node::new().load(&path).expect_err("a loop"));
    assert!(fault.message.contains("\"a\" is missing"), "{fault}");
}

#[test]
fn all_images_of_an_archive_are_loaded_and_other_platforms_are_passed_over() {
    let other = Image { architecture: "s390x".to_owned(), ..two_layers() };
    let second = Image::new().layer(Tar::new().file("second", "").done(), Codec::Plain);
    let layout = OciLayout::new()
        .add(&two_layers(), "app:1")
        .add(&other, "app:1")
        .add(&second, "latest")
        .add_index(&[other.clone(), second.clone()], "multi:1");
    let node = Node::new();
    let images = node.load(layout.path()).expect("load");
    let names: Vec<Vec<String>> =
        images.iter().map(|image| image.names.iter().map(ToString::to_string).collect()).collect();
    // A bare tag is no name; the third image is the second one by another way, and so shares its record.
    assert_eq!(
        names,
        [vec!["docker.io/library/app:1".to_owned()], vec![], vec!["docker.io/library/multi:1".to_owned()]]
    );
    assert_eq!(node.store.list().expect("list").len(), 2);
    let only_other = OciLayout::new().add(&other, "app:1");
    let fault = Fault::from(Node::new().load(only_other.path()).expect_err("another platform"));
    assert_eq!(fault.reason, Reason::ImagePlatform);
    assert!(fault.message.ends_with("it has linux/s390x"), "{fault}");
}

#[test]
fn what_is_no_archive_says_so() {
    let work = tempfile::tempdir().expect("temporary directory");
    let path = work.path().join("file");
    let cases: [(Vec<u8>, Reason, &str); 5] = [
        (b"some text".to_vec(), Reason::ImageInvalid, "ends in the middle"),
        (vec![], Reason::ImageInvalid, "neither an OCI layout nor a docker archive"),
        (Tar::new().file("x", "y").done(), Reason::ImageInvalid, "neither an OCI layout nor"),
        (Tar::new().file("manifest.json", "[]x").done(), Reason::ImageInvalid, "not a valid manifest.json"),
        (b"\x1f\x8b damaged".to_vec(), Reason::InvalidInput, "read"),
    ];
    for (bytes, reason, text) in cases {
        write(&path, bytes);
        let node = Node::new();
        let fault = Fault::from(node.load(&path).expect_err(text));
        assert_eq!(fault.reason, reason, "{fault}");
        assert!(fault.message.contains(text), "{fault}");
        node.assert_untouched();
    }
    let fault = Fault::from(Node::new().load(&work.path().join("absent")).expect_err("absent"));
    assert_eq!(fault.reason, Reason::NotFound, "{fault}");
    nix::unistd::mkfifo(&work.path().join("pipe"), nix::sys::stat::Mode::S_IRWXU).expect("pipe");
    let fault = Fault::from(Node::new().load(&work.path().join("pipe")).expect_err("a pipe"));
    assert!(fault.message.ends_with("neither a file nor a directory"), "{fault}");
}

#[test]
fn damage_and_gaps_in_a_layout_are_noticed() {
    let image = two_layers();
    for (index, blob) in image.blobs().iter().enumerate() {
        let layout = OciLayout::new().add(&image, "app:1");
        let mut damaged = blob.clone();
        damaged[blob.len() / 2] ^= 1;
        let path = layout.blob(blob);
        write(&path, &damaged);
        let node = Node::new();
        let fault = Fault::from(node.load(layout.path()).expect_err("damaged"));
        assert_eq!(fault.reason, Reason::DigestMismatch, "blob {index}: {fault}");
        node.assert_untouched();
        std::fs::remove_file(&path).expect("remove");
        let fault = Fault::from(node.load(layout.path()).expect_err("missing"));
        assert!(
            fault.message.contains(&format!("{} is missing", Digest::of(blob).to_hex()))
                || fault.message.contains("is missing"),
            "blob {index}: {fault}"
        );
        node.assert_untouched();
    }
}

#[test]
fn links_in_a_layout_lead_nowhere_else() {
    let work = tempfile::tempdir().expect("temporary directory");
    let elsewhere = OciLayout::new().add(&two_layers(), "app:1");
    std::os::unix::fs::symlink(elsewhere.path().join("index.json"), work.path().join("index.json"))
        .expect("link");
    let fault = Fault::from(Node::new().load(work.path()).expect_err("a link to elsewhere"));
    assert!(fault.message.contains("neither an OCI layout nor a docker archive"), "{fault}");
}

#[test]
fn a_cancelled_load_leaves_nothing() {
    let (node, cancel) = (Node::new(), CancelToken::new());
    let layout = OciLayout::new().add(&two_layers(), "app:1");
    cancel.cancel();
    let error = node.store.load(layout.path(), &node.platform, UnixMillis(1), &Silent, &cancel);
    assert_eq!(Fault::from(error.expect_err("cancelled")).reason, Reason::Cancelled);
    node.assert_untouched();
}

//! Names, removal, pruning, recovery.

use crate::support::layout::{Codec, Image, OciLayout, Tar};
use crate::support::node::Node;
use edgelet_image::{Prune, Removed};
use edgelet_types::image::ImageRecord;
use edgelet_types::{Fault, ImageRef, Platform, Reason};
use std::collections::BTreeSet;

fn image(own: &str) -> Image {
    let shared = Tar::new().file("shared", vec![b'x'; 100_000]).done();
    Image::new().layer(shared, Codec::Gzip).layer(Tar::new().file(own, own).done(), Codec::Gzip)
}

fn load(node: &Node, own: &str, name: &str) -> ImageRecord {
    node.load(OciLayout::new().add(&image(own), name).path()).expect("load").remove(0)
}

fn none() -> BTreeSet<edgelet_types::Digest> {
    BTreeSet::new()
}

#[test]
fn the_last_name_takes_the_image_with_it_and_shared_layers_stay() {
    let node = Node::new();
    let (one, two) = (load(&node, "one", "app:1"), load(&node, "two", "app:2"));
    load(&node, "one", "app:latest");
    let removed = node.store.remove("app:1", &none()).expect("remove a name");
    assert_eq!((removed.names.len(), removed.images.len(), removed.layers.len()), (1, 0, 0));
    let removed = node.store.remove("app:latest", &none()).expect("remove the last name");
    assert_eq!((removed.images, removed.layers), (vec![one.id], vec![one.layers[1].diff_id]));
    assert!(removed.freed_bytes > 0);
    assert_eq!(node.store.list().expect("list"), std::slice::from_ref(&two));
    let removed = node.store.remove(&two.id.short(), &none()).expect("remove by id");
    assert!(removed.layers.len() == 2 && removed.freed_bytes >= 100_000, "{removed:?}");
    assert_eq!((node.layers().len(), node.staged().len()), (0, 0));
    let fault = Fault::from(node.store.remove("app:2", &none()).expect_err("gone"));
    assert_eq!((fault.reason, fault.message), (Reason::NotFound, "no image \"app:2\"".to_owned()));
}

#[test]
fn an_image_in_use_stays_but_may_lose_spare_names() {
    let node = Node::new();
    let one = load(&node, "one", "app:1");
    load(&node, "one", "app:2");
    let in_use = BTreeSet::from([one.id]);
    node.store.remove("app:1", &in_use).expect("a spare name");
    for selector in ["app:2", &one.id.to_string()] {
        let fault = Fault::from(node.store.remove(selector, &in_use).expect_err("in use"));
        assert_eq!(fault.reason, Reason::Conflict, "{fault}");
    }
    assert_eq!(node.layers().len(), 2);
}

#[test]
fn pruning_removes_what_is_not_kept_and_what_nothing_names() {
    let node = Node::new();
    let (one, two) = (load(&node, "one", "app:1"), load(&node, "two", "app:1"));
    let three = load(&node, "three", "app:3");
    // `app:1` moved, so the first image has no name any more.
    let removed = node.store.prune(&none(), Prune::Dangling).expect("prune");
    assert_eq!((removed.images, removed.layers), (vec![one.id], vec![one.layers[1].diff_id]));
    assert_eq!(node.store.prune(&none(), Prune::Dangling).expect("nothing to do"), Removed::default());
    let removed = node.store.prune(&BTreeSet::from([three.id]), Prune::All).expect("prune");
    assert_eq!((removed.images, removed.names.len()), (vec![two.id], 1));
    assert_eq!(node.store.list().expect("list"), [three]);
    assert_eq!(node.layers().len(), 2);
}

#[test]
fn recovery_empties_staging_and_pruning_takes_finished_layers_that_no_image_names() {
    let node = Node::new();
    let one = load(&node, "one", "app:1");
    // What a cut leaves: half a layer in staging, a whole one that no image names yet, and strangers.
    let half = node.layout.staging().join("0123456789abcdef");
    std::fs::create_dir_all(half.join("a/b")).expect("mkdir");
    crate::support::write(half.join("a/file"), vec![7; 50_000]);
    let whole = node.layout.layer(&edgelet_types::Digest::of(b"a layer of an unfinished pull"));
    std::fs::create_dir(&whole).expect("mkdir");
    std::fs::create_dir(node.layout.layers().join("not a digest")).expect("mkdir");
    assert!(node.store.recover().expect("recover") >= 50_000);
    assert_eq!(node.staged(), Vec::<String>::new());
    assert!(whole.is_dir(), "it is worth a transfer");
    node.store.prune(&BTreeSet::from([one.id]), Prune::All).expect("prune");
    assert_eq!(node.layers().len(), 2);
    assert_eq!(node.store.list().expect("list"), [one]);
}

#[test]
fn an_image_that_lost_a_layer_is_forgotten_so_that_it_is_pulled_again() {
    let node = Node::new();
    let (one, two) = (load(&node, "one", "app:1"), load(&node, "two", "app:2"));
    std::fs::remove_dir_all(node.layer(&one, 1)).expect("as a file-system repair might");
    node.store.recover().expect("recover");
    assert_eq!(node.store.list().expect("list"), [two]);
    assert_eq!(load(&node, "one", "app:1"), one);
}

#[test]
fn an_image_is_found_by_name_only_for_a_platform_that_it_runs_on() {
    let node = Node::new();
    let one = load(&node, "one", "app:1");
    let name = ImageRef::parse("app:1").expect("reference");
    let find = |platform: &Platform| node.store.find(&name, platform).expect("find");
    assert_eq!(find(&node.platform), Some(one.clone()));
    assert_eq!(find(&Platform::parse("linux/s390x").expect("platform")), None);
    assert_eq!(node.store.resolve("app:1").expect("resolve"), one);
}

#[test]
fn directories_are_for_root_only() {
    use std::os::unix::fs::PermissionsExt;
    let node = Node::new();
    for path in [node.layout.data(), node.layout.layers(), node.layout.staging(), node.layout.scratch()] {
        let mode = std::fs::metadata(&path).expect("stat").permissions().mode();
        assert_eq!(mode & 0o7777, 0o700, "{path:?}");
    }
}

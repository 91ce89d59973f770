//! Root file systems as containers see them.

use crate::support::layout::{Codec, Image, OciLayout, Tar};
use crate::support::node::Node;
use edgelet_image::{Access, unmount};
use edgelet_types::Fault;
use edgelet_types::image::ImageRecord;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

/// A mounted image; unmounted at the end, however the test ends.
struct Mounted {
    target: PathBuf,
}

impl Mounted {
    fn new(node: &Node, image: &ImageRecord, name: &str, read_only: bool) -> Self {
        let target = node.layout.run().join(name);
        std::fs::create_dir_all(&target).expect("mkdir");
        let scratch = node.layout.scratch().join(name);
        node.store.mount(image, &scratch, &target, Access { read_only, users: None }).expect("mount");
        Self { target }
    }

    fn path(&self, name: &str) -> PathBuf {
        self.target.join(name)
    }

    fn text(&self, name: &str) -> String {
        std::fs::read_to_string(self.path(name)).unwrap_or_else(|error| format!("{error}"))
    }
}

impl Drop for Mounted {
    fn drop(&mut self) {
        unmount(&self.target).expect("unmount");
    }
}

fn loaded(node: &Node, image: &Image) -> ImageRecord {
    let layout = OciLayout::new().add(image, "test:1");
    node.load(layout.path()).expect("load").remove(0)
}

fn layered() -> Image {
    let lowest = Tar::new()
        .dir("./", 0o711)
        .file("old", "from the lowest")
        .file("changed", "before")
        .dir("emptied", 0o755)
        .file("emptied/a", "x")
        .file("emptied/b", "x");
    let middle = Tar::new().file(".wh.old", "").dir("emptied", 0o755).file("emptied/.wh..wh..opq", "");
    let top = Tar::new().dir("./", 0o711).file("changed", "after").file("emptied/c", "new");
    Image::new()
        .layer(lowest.done(), Codec::Gzip)
        .layer(middle.done(), Codec::Gzip)
        .layer(top.done(), Codec::Gzip)
}

#[test]
fn layers_hide_and_change_what_is_below_and_writes_stay_above() {
    let node = Node::new();
    let image = loaded(&node, &layered());
    let mounted = Mounted::new(&node, &image, "c1", false);
    assert!(!mounted.path("old").exists());
    assert_eq!(mounted.text("changed"), "after");
    let entries = std::fs::read_dir(mounted.path("emptied")).expect("list").count();
    assert_eq!((entries, mounted.text("emptied/c")), (1, "new".to_owned()));
    assert_eq!(std::fs::metadata(&mounted.target).expect("root").mode() & 0o7777, 0o711);
    crate::support::write(mounted.path("changed"), "by the container");
    let second = Mounted::new(&node, &image, "c2", false);
    assert_eq!(second.text("changed"), "after", "containers do not see each other");
    drop(mounted);
    let again = Mounted::new(&node, &image, "c1", false);
    assert_eq!(again.text("changed"), "by the container", "what was written is seen again");
}

#[test]
fn a_read_only_root_takes_no_writes() {
    let node = Node::new();
    let image = loaded(&node, &layered());
    let mounted = Mounted::new(&node, &image, "c1", true);
    let error = std::fs::File::create(mounted.path("new")).expect_err("read-only");
    assert_eq!(error.kind(), std::io::ErrorKind::ReadOnlyFilesystem);
}

#[test]
fn as_many_layers_as_an_image_may_have_can_be_mounted() {
    let node = Node::new();
    let layer = |n: usize| Tar::new().file("last", n.to_string()).file(&format!("f{n}"), "").done();
    let image = (0..127).fold(Image::new(), |image, n| image.layer(layer(n), Codec::Plain));
    let mounted = Mounted::new(&node, &loaded(&node, &image), "c1", false);
    assert_eq!(mounted.text("last"), "126");
    assert!(mounted.path("f0").exists() && mounted.path("f63").exists());
}

#[test]
fn a_layer_that_occurs_twice_counts_where_it_is_highest() {
    let node = Node::new();
    let twice = Tar::new().file("a", "twice").done();
    let between = Tar::new().file("a", "between").file(".wh.b", "").done();
    let image =
        Image::new().layer(twice.clone(), Codec::Gzip).layer(between, Codec::Gzip).layer(twice, Codec::Gzip);
    let record = loaded(&node, &image);
    assert_eq!((record.layers.len(), node.layers().len()), (3, 2));
    assert_eq!(Mounted::new(&node, &record, "c1", false).text("a"), "twice");
}

#[test]
fn an_image_without_layers_is_an_empty_root() {
    let node = Node::new();
    let mounted = Mounted::new(&node, &loaded(&node, &Image::new()), "c1", false);
    assert_eq!(std::fs::read_dir(&mounted.target).expect("list").count(), 0);
}

#[test]
fn targets_and_layers_that_are_links_are_refused() {
    let node = Node::new();
    let image = loaded(&node, &layered());
    let elsewhere = tempfile::tempdir().expect("temporary directory");
    let link = node.layout.prefix().join("link");
    std::os::unix::fs::symlink(elsewhere.path(), &link).expect("link");
    let mount =
        |target: &Path| node.store.mount(&image, &node.layout.scratch().join("c"), target, Access::default());
    assert!(Fault::from(mount(&link).expect_err("a link")).message.contains("mount overlay at"));
    std::fs::remove_dir_all(node.layer(&image, 1)).expect("remove a layer behind the store's back");
    let fault = Fault::from(mount(elsewhere.path()).expect_err("a layer is missing"));
    assert!(fault.message.contains(&image.layers[1].diff_id.to_string()), "{fault}");
    unmount(elsewhere.path()).expect("nothing is mounted, and that is fine");
    unmount(&elsewhere.path().join("absent")).expect("nothing is there, and that is fine");
}

//! Pulls from a real registry.

use crate::support::layout::{Codec, Image, OciLayout, Tar};
use crate::support::node::Node;
use crate::support::registry::Registry;
use std::os::unix::fs::MetadataExt;

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

#[test]
fn an_image_of_three_layers_in_three_codecs_stands_after_a_pull() {
    let (registry, image) = (Registry::start(), three_layers());
    registry.push(&OciLayout::new().add(&image, "it"), "it", "group/app:1");
    let node = Node::new().knows(&registry.host(), registry.config());
    let name = format!("{}/group/app:1", registry.host());
    let record = node.pull(&name).expect("pull");
    assert_eq!(record.id, edgelet_types::Digest::of(&image.config_json()));
    assert_eq!(record.names[0].to_string(), name);
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

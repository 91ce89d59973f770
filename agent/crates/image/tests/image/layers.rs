//! What layers unpack to: the same as other tools make of honest ones, and nothing outside their own
//! directory of hostile ones.

use crate::support::layout::{Codec, Image, OciLayout, Tar};
use crate::support::node::Node;
use crate::support::{run, tree};
use edgelet_types::image::ImageRecord;
use edgelet_types::{Fault, Reason, limits};
use std::os::unix::fs::{FileTypeExt, MetadataExt};
use std::path::{Path, PathBuf};
use std::process::Command;

/// A node with an image of that one layer.
fn unpacked(tar: Vec<u8>) -> (Node, ImageRecord) {
    let node = Node::new();
    let layout = OciLayout::new().add(&Image::new().layer(tar, Codec::Plain), "test:1");
    let images = node.load(layout.path()).expect("load");
    let [image] = &images[..] else { panic!("{images:?}") };
    let image = image.clone();
    assert_eq!(node.staged(), Vec::<String>::new());
    (node, image)
}

fn layer_of(tar: Tar) -> (Node, PathBuf) {
    let (node, image) = unpacked(tar.done());
    let path = node.layer(&image, 0);
    (node, path)
}

/// How an image of that one layer is refused; nothing of it may be left.
fn refusal(tar: Vec<u8>) -> Fault {
    let node = Node::new();
    let layout = OciLayout::new().add(&Image::new().layer(tar, Codec::Gzip), "test:1");
    let error = node.load(layout.path()).expect_err("a hostile layer");
    node.assert_untouched();
    assert_eq!(node.layers(), Vec::<String>::new());
    error.into()
}

#[track_caller]
fn assert_refused(tar: Tar, text: &str) {
    let fault = refusal(tar.done());
    assert_eq!(fault.reason, Reason::ImageInvalid, "{fault}");
    assert!(fault.message.contains(text), "{fault}");
}

fn text(path: impl AsRef<Path>) -> String {
    let path = path.as_ref();
    std::fs::read_to_string(path).unwrap_or_else(|error| panic!("{path:?}: {error}"))
}

#[test]
fn a_real_tree_unpacks_as_gnu_tar_unpacks_it() {
    let work = tempfile::tempdir().expect("temporary directory");
    let archive = work.path().join("tree.tar");
    let extracted = work.path().join("tree");
    std::fs::create_dir(&extracted).expect("mkdir");
    for format in ["gnu", "pax"] {
        let mut pack = Command::new("tar");
        pack.args(["-c", "--sparse", "--format", format, "-f"]);
        // Devices, set-id programs, links of both kinds, long names, and thousands of small files.
        pack.arg(&archive);
        if format == "pax" {
            pack.args(["--xattrs", "--xattrs-include=*"]);
        }
        pack.args([
            "-C",
            "/",
            "./etc",
            "./usr/share/zoneinfo",
            "./usr/sbin",
            "./usr/bin/passwd",
            "./dev/null",
        ]);
        if Path::new("/usr/share/perl").exists() {
            pack.arg("./usr/share/perl");
        }
        run(&mut pack);
        let mut unpack = Command::new("tar");
        unpack.args(["-x", "-p", "--same-owner", "--xattrs", "--xattrs-include=*", "-f"]);
        run(unpack.arg(&archive).arg("-C").arg(&extracted));
        let (node, image) = unpacked(std::fs::read(&archive).expect("archive"));
        let (ours, theirs) = (tree::listing(&node.layer(&image, 0)), tree::listing(&extracted));
        assert!(ours.len() > 1000, "{} objects", ours.len());
        let made_by_us = [".", "./dev", "./usr", "./usr/bin", "./usr/share"];
        for (path, entry) in &theirs {
            // Directories that the archive does not list have the time at which they were made.
            if !made_by_us.contains(&path.as_str()) {
                assert_eq!(ours.get(path), Some(entry), "{format}: {path}");
            }
        }
        assert_eq!(ours.len(), theirs.len(), "{format}");
    }
}

#[test]
fn attributes_of_every_kind_of_object_are_kept() {
    let capability = b"\x01\x00\x00\x02\x00\x04\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00";
    let mut owned = tar::Header::new_gnu();
    owned.set_entry_type(tar::EntryType::Regular);
    owned.set_mode(0o6755);
    owned.set_uid(1234);
    owned.set_gid(70_000);
    owned.set_mtime(1_234_567_890);
    owned.set_size(4);
    let (_node, layer) = layer_of(
        Tar::new()
            .dir("./", 0o750)
            .pax(&[("mtime", b"1234567890.5"), ("SCHILY.xattr.security.capability", capability)])
            .raw(owned, "program", b"code")
            .pax(&[("SCHILY.xattr.user.comment", b"on a directory")])
            .dir("tmp/", 0o1777)
            .file("tmp/late", "changes the time of its directory")
            .node(tar::EntryType::Fifo, "pipe", 0, 0)
            .node(tar::EntryType::Char, "null", 1, 3)
            .node(tar::EntryType::Block, "disk", 259, 70_000)
            .symlink("link", "/nowhere"),
    );
    let meta = |name: &str| std::fs::symlink_metadata(layer.join(name)).expect(name);
    assert_eq!(meta("").mode() & 0o7777, 0o750);
    let program = meta("program");
    assert_eq!((program.mode() & 0o7777, program.uid(), program.gid()), (0o6755, 1234, 70_000));
    assert_eq!((program.mtime(), program.mtime_nsec()), (1_234_567_890, 500_000_000));
    assert_eq!((meta("tmp").mode() & 0o7777, meta("tmp").mtime()), (0o1777, 1_000_000_000));
    assert_eq!(meta("").mtime(), 1_000_000_000);
    assert!(meta("pipe").file_type().is_fifo() && meta("pipe").mode() & 0o7777 == 0o600);
    assert_eq!((meta("null").file_type().is_char_device(), meta("null").rdev()), (true, 0x103));
    assert!(meta("disk").file_type().is_block_device());
    assert_eq!(nix::sys::stat::minor(meta("disk").rdev()), 70_000);
    let listing = tree::listing(&layer);
    assert!(listing["./program"].contains("security.capability=0x0100000200"), "{listing:?}");
    assert!(listing["./tmp"].contains("user.comment=0x6f6e"), "{listing:?}");
}

#[test]
fn sparse_files_stay_sparse() {
    let work = tempfile::tempdir().expect("temporary directory");
    let file = std::fs::File::create(work.path().join("sparse")).expect("create");
    file.set_len(1 << 30).expect("size");
    std::os::unix::fs::FileExt::write_all_at(&file, b"end", (1 << 29) - 3).expect("write");
    for args in [&["--format=gnu"][..], &["--format=pax", "--sparse-version=1.0"]] {
        let mut pack = Command::new("tar");
        pack.args(["-c", "--sparse"]).args(args).arg("-C").arg(work.path()).arg("sparse");
        let (node, image) = unpacked(run(&mut pack).stdout);
        let path = node.layer(&image, 0).join("sparse");
        let meta = std::fs::metadata(&path).expect("unpacked");
        assert_eq!(meta.len(), 1 << 30);
        assert!(meta.blocks() * 512 < 1 << 20, "{} blocks", meta.blocks());
        let mut end = [0; 3];
        let file = std::fs::File::open(&path).expect("open");
        std::os::unix::fs::FileExt::read_exact_at(&file, &mut end, (1 << 29) - 3).expect("read");
        assert_eq!(&end, b"end");
        assert_eq!(image.layers[0].unpacked_bytes, 1 << 30);
    }
}

#[test]
fn whiteouts_become_what_overlayfs_has_for_them() {
    let (_node, layer) = layer_of(
        Tar::new()
            .dir("a", 0o755)
            .file("a/.wh.gone", "")
            .dir("opaque", 0o755)
            .file("opaque/.wh..wh..opq", "")
            .file("opaque/kept", "1")
            .file("unlisted/.wh.gone", "")
            .file(".wh..wh.aufs", "")
            .file(".wh..wh.plnk/7", "")
            // Made again after it was removed, in this layer: nothing of the old one shines through.
            .file(".wh.again", "")
            .dir("again", 0o755)
            .file(".wh.file-again", "")
            .file("file-again", "2")
            // Put there first and whited out later: whiteouts do not reach into their own layer.
            .file("own", "3")
            .file(".wh.own", "")
            .dir("own-dir", 0o755)
            .file("own-dir/x", "4")
            .file(".wh.own-dir", ""),
    );
    let is_whiteout = |name: &str| {
        let meta = std::fs::symlink_metadata(layer.join(name)).expect(name);
        meta.file_type().is_char_device() && meta.rdev() == 0
    };
    assert!(is_whiteout("a/gone") && is_whiteout("unlisted/gone"));
    let listing = tree::listing(&layer);
    let opaque: Vec<&str> = (listing.iter())
        .filter(|(_, entry)| entry.contains("trusted.overlay.opaque=0x79"))
        .map(|(path, _)| path.as_str())
        .collect();
    assert_eq!(opaque, ["./again", "./opaque", "./own-dir"]);
    assert_eq!(text(layer.join("opaque/kept")) + &text(layer.join("file-again")), "12");
    assert_eq!(text(layer.join("own")) + &text(layer.join("own-dir/x")), "34");
    assert!(!listing.keys().any(|path| path.contains(".wh.")), "{listing:?}");
}

#[test]
fn whiteouts_of_nothing_and_of_directories_above_are_refused() {
    for name in [".wh.", ".wh..", ".wh...", "a/.wh.."] {
        assert_refused(Tar::new().dir("a", 0o755).file(name, ""), "a whiteout of no name");
    }
}

#[test]
fn an_image_cannot_set_what_only_overlayfs_may() {
    for key in ["SCHILY.xattr.trusted.overlay.opaque", "SCHILY.xattr.user.overlay.redirect"] {
        assert_refused(Tar::new().pax(&[(key, b"/etc")]).dir("d", 0o755), "an image may not set");
    }
}

#[test]
fn later_members_replace_earlier_ones_of_any_kind() {
    let (_node, layer) = layer_of(
        Tar::new()
            .file("file", "1")
            .hard_link("other-name", "file")
            .file("file", "2")
            .dir("dir", 0o700)
            .file("dir/inside", "x")
            .file("dir", "now a file")
            .file("was-file", "x")
            .dir("was-file", 0o711)
            .dir("kept", 0o755)
            .file("kept/inside", "y")
            .dir("kept", 0o700)
            .dir("was-dir", 0o755)
            .file("was-dir/inside", "x")
            .node(tar::EntryType::Char, "was-dir", 1, 3)
            .symlink("was-link", "kept")
            .dir("was-link", 0o755)
            .file("was-link/new", "z"),
    );
    assert_eq!(text(layer.join("file")) + &text(layer.join("other-name")), "21");
    assert_eq!(text(layer.join("dir")), "now a file");
    assert_eq!(std::fs::metadata(layer.join("was-file")).expect("dir").mode() & 0o7777, 0o711);
    assert_eq!(std::fs::metadata(layer.join("kept")).expect("dir").mode() & 0o7777, 0o700);
    assert_eq!(text(layer.join("kept/inside")) + &text(layer.join("was-link/new")), "yz");
    assert!(!layer.join("kept/new").exists());
    let device = std::fs::symlink_metadata(layer.join("was-dir")).expect("a device");
    assert!(device.file_type().is_char_device());
}

#[test]
fn odd_but_honest_names_are_taken() {
    let long = format!("{}/{}", vec!["d".repeat(99); 20].join("/"), "f".repeat(255));
    let (_node, layer) = layer_of(
        Tar::new()
            .file("/absolute", "1")
            .file("./dotted", "2")
            .file("a//b/./c", "3")
            .file(&long, "4")
            .file("new\nline \u{e9}\t", "5"),
    );
    let names = ["absolute", "dotted", "a/b/c", &long, "new\nline \u{e9}\t"];
    let texts: String = names.iter().map(|name| text(layer.join(name))).collect();
    assert_eq!(texts, "12345");
}

/// A directory beside the node, and what is in it, that no image may reach.
struct Canary {
    directory: tempfile::TempDir,
    before: std::collections::BTreeMap<String, String>,
}

impl Canary {
    fn new() -> Self {
        let directory = tempfile::tempdir().expect("temporary directory");
        crate::support::write(directory.path().join("file"), "untouched");
        let before = tree::listing(directory.path());
        Self { directory, before }
    }

    fn path(&self) -> &str {
        self.directory.path().to_str().expect("text")
    }

    #[track_caller]
    fn assert_unharmed(&self) {
        assert_eq!(tree::listing(self.directory.path()), self.before);
    }
}

#[test]
fn names_that_leave_the_root_are_refused() {
    let canary = Canary::new();
    let up = format!("{}{}/new", "../".repeat(30), canary.path());
    for name in [&up, "..", "a/..", "a/../../b", "./..", "/..", "/../etc/x"] {
        assert_refused(Tar::new().dir("a", 0o755).file(name, "x"), "leaves the root");
    }
    assert_refused(Tar::new().hard_link("a", &format!("..{}/file", canary.path())), "leaves the root");
    canary.assert_unharmed();
}

#[test]
fn links_that_point_outside_mean_something_inside() {
    let canary = Canary::new();
    let target = canary.path().to_owned();
    // Through a link to an absolute directory: resolved inside, where it does not exist.
    let up = format!("{}{target}", "../".repeat(20));
    for link in [target.as_str(), up.as_str()] {
        let fault = refusal(Tar::new().symlink("link", link).file("link/new", "x").done());
        assert_eq!(fault.reason, Reason::ImageInvalid, "{fault}");
    }
    canary.assert_unharmed();
}

#[test]
fn a_link_to_the_root_stays_in_the_layer() {
    let canary = Canary::new();
    let inside = format!("link{}/file", canary.path());
    let (_node, layer) = layer_of(
        Tar::new()
            .symlink("link", "/")
            .file(&inside, "inside")
            .symlink("up", "../../../..")
            .file("up/top", "also inside")
            .file("link/.wh.file", "")
            .symlink("proc", "/proc/self/root")
            .dir("etc", 0o755),
    );
    assert_eq!(text(layer.join(format!(".{}/file", canary.path()))), "inside");
    assert_eq!(text(layer.join("top")), "also inside");
    canary.assert_unharmed();
}

#[test]
fn writing_through_links_never_reaches_the_host() {
    let canary = Canary::new();
    let file = format!("{}/file", canary.path());
    // A link in the last place is replaced, not followed, whatever comes.
    let (_node, layer) = layer_of(
        Tar::new()
            .symlink("a", &file)
            .file("a", "overwritten?")
            .symlink("b", canary.path())
            .dir("b", 0o777)
            .symlink("c", &file)
            .node(tar::EntryType::Fifo, "c", 0, 0)
            .symlink("d", &file)
            .hard_link("e", "d"),
    );
    assert_eq!(text(layer.join("a")), "overwritten?");
    assert!(std::fs::symlink_metadata(layer.join("e")).expect("the link itself").is_symlink());
    canary.assert_unharmed();
    // Hard links to what is not in the layer, by name and through links.
    assert_refused(Tar::new().hard_link("x", &file), "");
    assert_refused(Tar::new().symlink("l", "/").hard_link("x", &format!("l{file}")), "");
    assert_refused(Tar::new().file("x", "1").hard_link("x", "y"), "not in this layer");
    assert_refused(Tar::new().dir("x", 0o755).hard_link("y", "x"), "a hard link to a directory");
    assert_refused(Tar::new().file("file", "1").file("file/below", "2"), "");
    canary.assert_unharmed();
}

#[test]
fn loops_of_links_end() {
    assert_refused(Tar::new().symlink("a", "b").symlink("b", "a").file("a/x", "1"), "");
}

#[test]
fn a_member_that_is_the_root_must_be_a_directory() {
    for name in ["/", "./", "."] {
        assert_refused(Tar::new().symlink(name, "/etc"), "the root must be a directory");
    }
}

#[test]
fn depth_and_length_are_limited() {
    let path = |depth: usize| vec!["d"; depth].join("/");
    let (_node, layer) = layer_of(Tar::new().dir(&path(limits::LAYER_DEPTH), 0o755));
    assert!(layer.join(path(limits::LAYER_DEPTH)).is_dir());
    assert_refused(Tar::new().dir(&path(limits::LAYER_DEPTH + 1), 0o755), "directories in a path above");
    assert_refused(Tar::new().file(&"f".repeat(256), ""), "File name too long");
    assert_refused(Tar::new().file(&"f/".repeat(2100), ""), "a path above the limit of 4095");
    let huge = vec![b'x'; usize::try_from(limits::LAYER_HEADER_BYTES).expect("fits")];
    assert_refused(Tar::new().pax(&[("comment", &huge)]).file("f", ""), "bytes of extended headers above");
}

#[test]
fn ten_thousand_entries_take_linear_time_and_little_memory() {
    let many = |count: usize| {
        let mut tar = Tar::new();
        for n in 0..count {
            tar = tar.file(&format!("d{}/f{n}", n % 100), "x");
        }
        tar.done()
    };
    let time = |count: usize| {
        let tar = many(count);
        let started = std::time::Instant::now();
        let (_node, image) = unpacked(tar);
        assert_eq!(image.layers[0].unpacked_bytes, count as u64);
        started.elapsed()
    };
    let (some, all) = (time(2_000), time(20_000));
    println!("unpack 2000 files: {some:?}, 20000 files: {all:?}");
    assert!(all < some * 40, "2000 entries take {some:?}, 20000 take {all:?}");
}

#[test]
fn damaged_archives_with_right_digests_are_the_images_fault() {
    let tar = Tar::new().file("file", vec![b'x'; 2000]).done();
    for (damaged, message) in [
        (tar[..1000].to_vec(), "ends in the middle"),
        ([&tar[..512], &vec![b'!'; 4096]].concat(), "checksum is wrong"),
        (b"not a tar".to_vec(), "ends in the middle"),
    ] {
        let fault = refusal(damaged);
        assert_eq!(fault.reason, Reason::ImageInvalid, "{fault}");
        assert!(fault.message.contains(message), "{fault}");
    }
}

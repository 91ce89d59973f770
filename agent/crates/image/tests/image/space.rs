//! A data file system that is too small, at every size from nothing to enough. Each time the pull says so,
//! nothing is visible or left, and with enough room the same pull succeeds.

use crate::support::disk::Disk;
use crate::support::layout::{Codec, Image, OciLayout, Tar};
use crate::support::node::{MemoryCatalog, quick};
use crate::support::registry::Registry;
use edgelet_image::{CancelToken, ImageStore, Prune, Silent, StoreOptions};
use edgelet_types::image::ImageRecord;
use edgelet_types::{Fault, ImageRef, Layout, Platform, Reason, UnixMillis};
use std::collections::{BTreeMap, BTreeSet};
use std::path::PathBuf;
use std::sync::Arc;

fn store(disk: &Disk, options: StoreOptions) -> (ImageStore, Layout) {
    let layout = Layout::new(&disk.path);
    let store = ImageStore::open(&layout, Arc::<MemoryCatalog>::default(), options).expect("open");
    (store, layout)
}

fn count(path: PathBuf) -> usize {
    std::fs::read_dir(path).expect("list").count()
}

/// Two layers of about half a megabyte, of what does not compress.
fn image() -> Image {
    let noise = |seed: u64| {
        let mut state = seed;
        let mut next = || {
            state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
            state.to_be_bytes()[0]
        };
        (0..500_000).map(|_| next()).collect::<Vec<u8>>()
    };
    let layer = |seed| {
        let noise = noise(seed);
        let mut tar = Tar::new();
        for (n, part) in noise.chunks(10_000).enumerate() {
            tar = tar.file(&format!("d{}/f{n}", n % 7), part);
        }
        tar.done()
    };
    Image::new().layer(layer(1), Codec::Gzip).layer(layer(2), Codec::Zstd)
}

/// Tries with a disk that grows from almost nothing, and says how often it was too small.
fn grow(attempt: impl Fn(&ImageStore) -> Result<ImageRecord, Fault>, limit: impl Fn(u64) -> String) -> u32 {
    let disk = Disk::tmpfs(&limit(0));
    let (store, layout) = store(&disk, quick());
    let empty = disk.available();
    for step in 1..400 {
        disk.resize(&limit(step));
        let result = attempt(&store);
        assert_eq!(count(layout.staging()), 0, "step {step}");
        match result {
            Ok(image) => {
                assert_eq!(store.list().expect("list"), [image]);
                store.prune(&BTreeSet::new(), Prune::All).expect("prune");
                assert_eq!((count(layout.layers()), count(layout.staging())), (0, 0));
                assert!(disk.available() >= empty, "all room is back");
                return u32::try_from(step).expect("few steps") - 1;
            }
            Err(fault) => {
                assert_eq!(fault.reason, Reason::NoSpace, "step {step}: {fault}");
                assert_eq!(store.list().expect("list"), []);
                // A finished layer may stay for the next attempt; here each size starts from nothing.
                store.prune(&BTreeSet::new(), Prune::All).expect("prune");
            }
        }
    }
    panic!("it never fitted");
}

#[test]
fn a_pull_on_a_disk_of_any_size_succeeds_or_leaves_nothing() {
    let registry = Registry::start();
    registry.push(&OciLayout::new().add(&image(), "it"), "it", "app:1");
    let reference = ImageRef::parse(&format!("{}/app:1", registry.host())).expect("reference");
    let registries = BTreeMap::from([(registry.host(), registry.config())]);
    let pull = |store: &ImageStore| {
        let (platform, cancel) = (Platform::host(), CancelToken::new());
        let image = store.pull(&reference, &platform, &registries, UnixMillis(1), &Silent, &cancel);
        image.map_err(Fault::from)
    };
    let bytes = grow(pull, |step| format!("size={}k", 40 + step * 32));
    assert!(bytes > 20, "only {bytes} sizes were too small");
    let inodes = grow(pull, |step| format!("size=64m,nr_inodes={}", 10 + step));
    assert!(inodes > 50, "only {inodes} counts of inodes were too small");
    println!("full disk: {bytes} sizes, {inodes} inode counts");
}

#[test]
fn a_load_of_a_compressed_archive_on_a_disk_of_any_size_succeeds_or_leaves_nothing() {
    let layout = OciLayout::new().add(&image(), "app:1");
    let work = tempfile::tempdir().expect("temporary directory");
    let archive = work.path().join("archive.tar.gz");
    let mut tar = std::process::Command::new("tar");
    crate::support::run(tar.arg("-czf").arg(&archive).arg("-C").arg(layout.path()).arg("."));
    let load = |store: &ImageStore| {
        let (platform, cancel) = (Platform::host(), CancelToken::new());
        let images = store.load(&archive, &platform, UnixMillis(1), &Silent, &cancel);
        images.map(|mut images| images.remove(0)).map_err(Fault::from)
    };
    let bytes = grow(load, |step| format!("size={}k", 40 + step * 64));
    assert!(bytes > 20, "only {bytes} sizes were too small");
}

#[test]
fn the_reserve_is_refused_before_the_first_byte_and_kept_while_writing() {
    let registry = Registry::start();
    let small = Image::new().layer(Tar::new().file("zeros", vec![0; 24 << 20]).done(), Codec::Gzip);
    registry.push(&OciLayout::new().add(&image(), "it"), "it", "noise:1");
    registry.push(&OciLayout::new().add(&small, "it"), "it", "zeros:1");
    let registries = BTreeMap::from([(registry.host(), registry.config())]);
    let disk = Disk::tmpfs("size=32m");
    let (store, layout) = store(&disk, StoreOptions { reserve_bytes: (31 << 20) + (1 << 19), ..quick() });
    let pull = |store: &ImageStore, name: &str| {
        let reference = ImageRef::parse(&format!("{}/{name}", registry.host())).expect("reference");
        let (platform, cancel) = (Platform::host(), CancelToken::new());
        let image = store.pull(&reference, &platform, &registries, UnixMillis(1), &Silent, &cancel);
        Fault::from(image.expect_err("no room"))
    };
    let fault = pull(&store, "noise:1");
    assert!(fault.reason == Reason::NoSpace && fault.message.contains("no room: "), "{fault}");
    // This one is small on the wire, and is stopped when it comes to the reserve.
    let (store, _) = self::store(&disk, StoreOptions { reserve_bytes: 16 << 20, ..quick() });
    let fault = pull(&store, "zeros:1");
    assert!(fault.reason == Reason::NoSpace && fault.message.contains("kept in reserve"), "{fault}");
    assert!(disk.available() >= 30 << 20, "{} B", disk.available());
    assert_eq!((count(layout.layers()), count(layout.staging())), (0, 0));
}

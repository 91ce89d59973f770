//! Pulls that go on after the process or the machine has died.

use crate::support::layout::{Codec, Image, Tar};
use crate::support::node::{Node, quick};
use crate::support::scripted::{Reply, Request, Scripted};
use crate::support::tree::listing;
use edgelet_image::StoreOptions;
use edgelet_types::config::Registry;
use edgelet_types::{Digest, Fault, Reason};
use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

/// Numbers, which compress to about half.
fn text(seed: u32, bytes: usize) -> Vec<u8> {
    let mut seed = seed;
    let mut text = Vec::new();
    while text.len() < bytes {
        seed = seed.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        text.extend_from_slice(format!("{} ", seed >> 12).as_bytes());
    }
    text.truncate(bytes);
    text
}

/// What an image has: small files and large ones, links, directories that are listed before and after, whiteouts,
/// records for all members and for one.
fn archive() -> Tar {
    let mut tar = Tar::new().dir(".", 0o755).pax_for_all(&[("mtime", "1234567890.5")]).dir("small", 0o755);
    for number in 0..300 {
        tar = tar.file(&format!("small/{number}"), text(number, 3000 + number as usize));
        if number % 50 == 0 {
            tar =
                tar.dir(&format!("small/d{number}"), 0o711).symlink(&format!("small/l{number}"), "../large");
            tar = tar.hard_link(&format!("small/h{number}"), &format!("small/{number}"));
            tar = tar.file(&format!("small/.wh.gone{number}"), "");
        }
    }
    let long = format!("deep/{}", "x".repeat(150));
    tar.file("large", text(1, 5 << 20)).file(&long, text(2, 700_000)).dir("deep", 0o700).file("end", "end")
}

fn image(codec: Codec) -> Image {
    Image::new().layer(archive().done(), codec)
}

/// A registry that ends every session after so many bytes of the layer, for good, until the next one is allowed; and
/// what it was asked for and gave.
struct Cutting {
    registry: Scripted,
    layer: String,
    left: Arc<AtomicUsize>,
    given: Arc<AtomicUsize>,
}

impl Cutting {
    fn serving(image: &Image) -> Self {
        let blob = image.blobs()[0].clone();
        let layer = format!("/blobs/{}", Digest::of(&blob));
        let (left, given) = (Arc::new(AtomicUsize::new(0)), Arc::new(AtomicUsize::new(0)));
        let (path, budget, sum) = (layer.clone(), left.clone(), given.clone());
        let registry = Scripted::serving(image, move |request| {
            if !request.path.ends_with(&path) {
                return None;
            }
            let rest = blob.len() - request.from();
            let bytes = budget.load(Ordering::SeqCst).min(rest);
            budget.fetch_sub(bytes, Ordering::SeqCst);
            sum.fetch_add(bytes, Ordering::SeqCst);
            Some(match bytes < rest {
                true => Reply::of(&blob, request).breaking_after(bytes),
                false => Reply::of(&blob, request),
            })
        });
        Self { registry, layer, left, given }
    }

    fn node(&self, options: StoreOptions) -> Node {
        Node::with(options).knows(&self.registry.host(), Registry { insecure: true, ..Registry::default() })
    }

    fn name(&self) -> String {
        format!("{}/app:1", self.registry.host())
    }

    /// Where the requests for the layer began.
    fn asked_from(&self) -> Vec<usize> {
        let requests = self.registry.requests();
        requests.iter().filter(|request| request.path.ends_with(&self.layer)).map(Request::from).collect()
    }
}

/// Pulls in sessions of that many bytes, with `between` between them, and says how many there were.
fn pull_in_sessions(
    cutting: &Cutting,
    mut node: Node,
    bytes: usize,
    between: impl Fn(&Node),
) -> (Node, edgelet_types::image::ImageRecord, usize) {
    for session in 1.. {
        let asked = cutting.asked_from();
        assert!(session < 50, "it does not get on: {:?}", &asked[asked.len().saturating_sub(9)..]);
        cutting.left.store(bytes, Ordering::SeqCst);
        match node.pull(&cutting.name()) {
            Ok(record) => return (node, record, session),
            Err(error) => assert_eq!(Fault::from(error).reason, Reason::RegistryUnreachable),
        }
        between(&node);
        node = node.again();
    }
    unreachable!("the loop has no end")
}

/// What stands there; a whiteout has the time when it was made, which nobody sees.
fn tree(node: &Node, record: &edgelet_types::image::ImageRecord) -> BTreeMap<String, String> {
    let mut found = listing(&node.layer(record, 0));
    found.values_mut().filter(|entry| entry.starts_with("20000 ")).for_each(|entry| entry.truncate(9));
    found
}

fn in_one_go(image: &Image) -> (Node, edgelet_types::image::ImageRecord) {
    let cutting = Cutting::serving(image);
    cutting.left.store(usize::MAX, Ordering::SeqCst);
    let node = cutting.node(quick());
    let record = node.pull(&cutting.name()).expect("pull");
    (node, record)
}

#[test]
fn a_process_that_dies_loses_less_than_two_points() {
    for codec in [Codec::Gzip, Codec::Plain] {
        let image = image(codec);
        let (whole, wanted) = in_one_go(&image);
        let cutting = Cutting::serving(&image);
        let (node, record, sessions) = pull_in_sessions(&cutting, cutting.node(quick()), 700_000, |_| {});
        assert_eq!(record.layers, wanted.layers);
        assert!(tree(&node, &record) == tree(&whole, &wanted));
        assert_eq!(node.staged(), Vec::<String>::new());
        let size = image.blobs()[0].len();
        assert!(sessions > size / 700_000, "{sessions}");
        // A point is noted every 256 KiB or at the next block, and the decoder reads 64 KiB ahead.
        let given = cutting.given.load(Ordering::SeqCst);
        assert!(given < size + (sessions - 1) * 450_000, "{given} for {size} in {sessions} sessions");
    }
}

#[test]
fn after_a_power_cut_it_goes_on_from_what_was_flushed() {
    let options = StoreOptions { keep_every: Duration::ZERO, ..quick() };
    let image = image(Codec::Gzip);
    let (whole, wanted) = in_one_go(&image);
    let cutting = Cutting::serving(&image);
    let (node, record, sessions) = pull_in_sessions(&cutting, cutting.node(options), 900_000, |node| {
        // What is in memory is gone.
        std::fs::remove_dir_all(node.layout.pulls()).expect("remove");
    });
    assert!(tree(&node, &record) == tree(&whole, &wanted));
    assert!(sessions > 2 && cutting.asked_from().iter().filter(|from| **from > 0).count() >= sessions - 1);
}

#[test]
fn a_note_of_another_start_of_the_machine_is_not_believed() {
    let image = image(Codec::Gzip);
    let cutting = Cutting::serving(&image);
    let node = cutting.node(quick());
    cutting.left.store(900_000, Ordering::SeqCst);
    node.pull(&cutting.name()).expect_err("cut");
    let note =
        std::fs::read_dir(node.layout.pulls()).expect("list").next().expect("a note").expect("entry").path();
    let mut text = std::fs::read(&note).expect("read");
    text[0] = if text[0] == b'0' { b'1' } else { b'0' };
    crate::support::write(&note, text);
    cutting.left.store(usize::MAX, Ordering::SeqCst);
    let before = cutting.asked_from().len();
    node.again().pull(&cutting.name()).expect("pull");
    assert_eq!(cutting.asked_from()[before..], [0]);
}

/// A later member takes the place of an earlier one, whose content a link has kept.
#[test]
fn what_was_replaced_is_not_gone_on_from() {
    let tar = Tar::new().dir(".", 0o755).file("first", text(1, 2_000_000)).hard_link("link", "first");
    let tar = tar.file("filler", text(2, 2_000_000)).file("first", "other").file("more", text(3, 4_000_000));
    let image = Image::new().layer(tar.done(), Codec::Gzip);
    let (whole, wanted) = in_one_go(&image);
    let size = image.blobs()[0].len();
    let cutting = Cutting::serving(&image);
    let node = cutting.node(quick());
    cutting.left.store(size * 3 / 4, Ordering::SeqCst);
    node.pull(&cutting.name()).expect_err("cut");
    assert_eq!(node.staged(), Vec::<String>::new());
    cutting.left.store(usize::MAX, Ordering::SeqCst);
    let before = cutting.asked_from().len();
    let node = node.again();
    let record = node.pull(&cutting.name()).expect("pull");
    assert_eq!(cutting.asked_from()[before..], [0]);
    assert!(tree(&node, &record) == tree(&whole, &wanted));
}

#[test]
fn what_has_been_damaged_meanwhile_begins_again() {
    let tar = Tar::new().dir(".", 0o755).file("large", text(1, 8 << 20));
    let image = Image::new().layer(tar.done(), Codec::Gzip);
    let (whole, wanted) = in_one_go(&image);
    let cutting = Cutting::serving(&image);
    let node = cutting.node(quick());
    cutting.left.store(2_000_000, Ordering::SeqCst);
    node.pull(&cutting.name()).expect_err("cut");
    let partial = node.layout.partial().join(&node.staged()[0]).join("root/large");
    std::fs::File::options().write(true).open(&partial).and_then(|file| file.set_len(10)).expect("truncate");
    cutting.left.store(usize::MAX, Ordering::SeqCst);
    let node = node.again();
    let record = node.pull(&cutting.name()).expect("pull");
    assert_eq!(cutting.asked_from().last(), Some(&0));
    assert!(tree(&node, &record) == tree(&whole, &wanted));
}

#[test]
fn what_nobody_goes_on_with_is_removed_by_a_prune() {
    let cutting = Cutting::serving(&image(Codec::Gzip));
    let node = cutting.node(quick());
    cutting.left.store(900_000, Ordering::SeqCst);
    node.pull(&cutting.name()).expect_err("cut");
    let node = node.again();
    assert_eq!(node.staged().len(), 1);
    let removed = node.store.prune(&std::collections::BTreeSet::new(), edgelet_image::Prune::Dangling);
    assert!(removed.expect("prune").freed_bytes > 900_000);
    assert_eq!(std::fs::read_dir(node.layout.pulls()).expect("list").count(), 0);
    assert_eq!(node.staged(), Vec::<String>::new());
}

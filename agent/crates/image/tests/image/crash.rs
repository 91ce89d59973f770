//! Sudden death in the middle of a pull. A child process pulls and is killed at a random instant; what it
//! leaves must be all or nothing, and the next process must be able to go on from it.

use crate::support::disk::Disk;
use crate::support::layout::{Codec, Image, OciLayout, Tar};
use crate::support::node::quick;
use crate::support::registry::Registry;
use crate::support::tree;
use edgelet_image::{CancelToken, Catalog, CatalogChange, ImageStore, Prune, Silent};
use edgelet_types::image::ImageRecord;
use edgelet_types::{Fault, ImageRef, Layout, Platform, Reason, UnixMillis};
use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::Arc;
use std::time::Instant;

/// Where the child finds its node and its registry; without it the child's test is none.
const CHILD: &str = "EDGELET_TEST_PULL";
/// How many times the child is killed.
const KILLS: u64 = 50;

/// A catalog that survives its process: one file, replaced whole.
struct FileCatalog(PathBuf);

impl FileCatalog {
    fn at(layout: &Layout) -> Arc<Self> {
        Arc::new(Self(layout.data()))
    }

    fn storage(error: impl std::fmt::Display) -> Fault {
        Fault::new(Reason::Storage, error)
    }
}

impl Catalog for FileCatalog {
    fn images(&self) -> Result<Vec<ImageRecord>, Fault> {
        match std::fs::read(self.0.join("catalog.json")) {
            Ok(bytes) => serde_json::from_slice(&bytes).map_err(Self::storage),
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(Vec::new()),
            Err(error) => Err(Self::storage(error)),
        }
    }

    fn commit(&self, changes: &[CatalogChange]) -> Result<(), Fault> {
        let mut images = self.images()?;
        for change in changes {
            let id = match change {
                CatalogChange::Put(image) => image.id,
                CatalogChange::Remove(id) => *id,
            };
            images.retain(|image| image.id != id);
            if let CatalogChange::Put(image) = change {
                images.push(image.clone());
            }
        }
        let bytes = serde_json::to_vec(&images).map_err(Self::storage)?;
        edgelet_sys::durable::publish(&self.0, "catalog.json", &bytes, 0o600).map_err(Self::storage)
    }
}

fn open(prefix: &Path) -> (ImageStore, Layout) {
    let layout = Layout::new(prefix);
    let store = ImageStore::open(&layout, FileCatalog::at(&layout), quick()).expect("open");
    (store, layout)
}

fn pull(store: &ImageStore, host: &str) -> Result<ImageRecord, Fault> {
    let reference = ImageRef::parse(&format!("{host}/app:1")).expect("reference");
    let plain = edgelet_types::config::Registry { insecure: true, ..Default::default() };
    let (registries, platform) = (BTreeMap::from([(host.to_owned(), plain)]), Platform::host());
    let image = store.pull(&reference, &platform, &registries, UnixMillis(1), &Silent, &CancelToken::new());
    Ok(image?)
}

/// Not a test by itself: what the child process runs.
#[test]
fn the_child_pulls() {
    let Some(task) = std::env::var(CHILD).ok() else { return };
    let (prefix, host) = task.split_once('|').expect("two words");
    let (store, _) = open(Path::new(prefix));
    store.recover().expect("recover");
    pull(&store, host).expect("pull");
}

fn child(prefix: &Path, host: &str) -> Command {
    let mut command = Command::new(std::env::current_exe().expect("this program"));
    command.args(["crash::the_child_pulls", "--exact"]).env(CHILD, format!("{}|{host}", prefix.display()));
    command.stdout(Stdio::null()).stderr(Stdio::null());
    command
}

/// Five layers of different sizes and codecs, so that every phase takes some time.
fn image() -> Image {
    (0..5).fold(Image::new(), |image, n| {
        let mut tar = Tar::new();
        for file in 0..60 * (n + 1) {
            tar = tar.dir(&format!("d{n}"), 0o755);
            tar = tar.file(&format!("d{n}/f{file}"), format!("{n} {file} ").repeat(500 * (n + 1)));
        }
        let codec = [Codec::Gzip, Codec::Zstd, Codec::Plain][n % 3];
        image.layer(tar.symlink(&format!("l{n}"), "/etc").done(), codec)
    })
}

fn names(path: PathBuf) -> Vec<String> {
    let entries = std::fs::read_dir(path).expect("list");
    entries.map(|entry| entry.expect("entry").file_name().into_string().expect("text")).collect()
}

type Trees = BTreeMap<String, BTreeMap<String, String>>;

/// Every layer by its directory's name, without the time of its root, which no archive sets here.
fn trees(layout: &Layout) -> Trees {
    let tree = |name: &String| {
        let mut tree = tree::listing(&layout.layers().join(name));
        tree.remove(".");
        tree
    };
    names(layout.layers()).iter().map(|name| (name.clone(), tree(name))).collect()
}

#[test]
fn a_pull_killed_at_any_instant_leaves_all_or_nothing_and_completes_later() {
    let registry = Registry::start();
    registry.push(&OciLayout::new().add(&image(), "it"), "it", "app:1");
    let host = registry.host();

    let whole = Disk::ext4(128);
    let started = Instant::now();
    assert!(child(&whole.path, &host).status().expect("child").success());
    let length = started.elapsed();
    let (store, layout) = open(&whole.path);
    let (images, layers) = (store.list().expect("list"), trees(&layout));
    assert_eq!((images.len(), layers.len()), (1, 5));

    let node = Disk::ext4(128);
    let mut killed = BTreeMap::<String, u32>::new();
    let mut random = 0x9e37_79b9_7f4a_7c15_u64;
    for round in 0..KILLS {
        random ^= random << 13;
        random ^= random >> 7;
        random ^= random << 17;
        let after =
            length.mul_f64(f64::from(u32::try_from(random >> 32).expect("32 bits")) / f64::from(u32::MAX));
        let mut process = child(&node.path, &host).spawn().expect("child");
        std::thread::sleep(after);
        process.kill().expect("a child of ours");
        let status = process.wait().expect("a child of ours");

        // What stands, stands whole; what is visible has everything that it names.
        let (store, layout) = open(&node.path);
        let visible = store.list().expect("the catalog opens");
        let found = trees(&layout);
        for (name, tree) in &found {
            assert_eq!(layers.get(name), Some(tree), "round {round}: layer {name} is not whole");
        }
        match &visible[..] {
            [] => {}
            [image] => assert!(*image == images[0] && found.len() == 5, "round {round}: {image:?}"),
            more => panic!("round {round}: {more:?}"),
        }
        let staged = names(layout.partial()).len();
        let kind = if status.success() {
            "finished".to_owned()
        } else {
            format!("{} layers, {staged} begun", found.len())
        };
        *killed.entry(kind).or_default() += 1;

        // Every other round goes on from what is there; then everything goes.
        store.recover().expect("recover");
        edgelet_sys::durable::remove_leftovers(&layout.data()).expect("the catalog's own recovery");
        assert_eq!(names(layout.staging()), Vec::<String>::new(), "round {round}");
        if round % 2 == 0 {
            assert_eq!(pull(&store, &host).expect("the pull completes"), images[0]);
            assert_eq!(trees(&layout), layers, "round {round}");
        }
        store.prune(&BTreeSet::new(), Prune::All).expect("prune");
        assert_eq!((names(layout.layers()), names(layout.staging())), (vec![], vec![]), "round {round}");
        assert_eq!(names(layout.partial()), Vec::<String>::new(), "round {round}");
        assert_eq!(names(layout.data()).len(), 5, "round {round}: {:?}", names(layout.data()));
    }
    println!("{KILLS} kills within {length:?}: {killed:?}");
    assert!(killed.len() > 2, "the kills hit too few different moments: {killed:?}");
}

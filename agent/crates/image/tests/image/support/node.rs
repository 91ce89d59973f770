//! A node's image store in a temporary directory, with a catalog in memory.

use edgelet_image::{
    CancelToken, Catalog, CatalogChange, ImageStore, LoadError, PullError, Silent, StoreOptions, Timeouts,
};
use edgelet_types::config::Registry;
use edgelet_types::image::ImageRecord;
use edgelet_types::{Digest, Fault, ImageRef, Layout, Platform, UnixMillis};
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};
use std::time::Duration;

/// A catalog that forgets when the process ends.
#[derive(Default)]
pub(crate) struct MemoryCatalog {
    images: Mutex<BTreeMap<Digest, ImageRecord>>,
}

impl Catalog for MemoryCatalog {
    fn images(&self) -> Result<Vec<ImageRecord>, Fault> {
        Ok(self.images.lock().expect("no panic").values().cloned().collect())
    }

    fn commit(&self, changes: &[CatalogChange]) -> Result<(), Fault> {
        assert!(!changes.is_empty(), "an empty commit costs a flash write");
        let mut images = self.images.lock().expect("no panic");
        for change in changes {
            match change {
                CatalogChange::Put(image) => drop(images.insert(image.id, image.clone())),
                CatalogChange::Remove(id) => drop(images.remove(id)),
            }
        }
        Ok(())
    }
}

/// A store on a temporary directory.
pub(crate) struct Node {
    pub(crate) store: ImageStore,
    pub(crate) layout: Layout,
    pub(crate) registries: BTreeMap<String, Registry>,
    pub(crate) platform: Platform,
    options: StoreOptions,
    /// Removed with everything in it at the end.
    pub(crate) _directory: tempfile::TempDir,
}

/// Options that do not wait as long as a device would.
pub(crate) fn quick() -> StoreOptions {
    let second = Duration::from_secs(1);
    StoreOptions {
        reserve_bytes: 0,
        attempts: 3,
        first_wait: Duration::from_millis(10),
        timeouts: Timeouts { connect: 5 * second, answer: 2 * second, progress: second },
        ..StoreOptions::default()
    }
}

impl Node {
    pub(crate) fn new() -> Self {
        Self::with(quick())
    }

    pub(crate) fn with(options: StoreOptions) -> Self {
        let directory = tempfile::tempdir().expect("temporary directory");
        let layout = Layout::new(directory.path());
        let store = ImageStore::open(&layout, Arc::<MemoryCatalog>::default(), options.clone());
        let (registries, platform) = (BTreeMap::new(), Platform::host());
        Self { store: store.expect("open"), layout, registries, platform, options, _directory: directory }
    }

    /// Makes the node know how to reach a registry.
    pub(crate) fn knows(mut self, host: &str, registry: Registry) -> Self {
        self.registries.insert(host.to_owned(), registry);
        self
    }

    pub(crate) fn pull(&self, reference: &str) -> Result<ImageRecord, PullError> {
        self.pull_at(reference, UnixMillis(1))
    }

    pub(crate) fn pull_at(&self, reference: &str, now: UnixMillis) -> Result<ImageRecord, PullError> {
        let reference = ImageRef::parse(reference).expect(reference);
        let cancel = CancelToken::new();
        self.store.pull(&reference, &self.platform, &self.registries, now, &Silent, &cancel)
    }

    /// Loads an archive.
    pub(crate) fn load(&self, path: &Path) -> Result<Vec<ImageRecord>, LoadError> {
        self.store.load(path, &self.platform, UnixMillis(1), &Silent, &CancelToken::new())
    }

    /// The directory of a layer of an image, counted from the lowest.
    pub(crate) fn layer(&self, image: &ImageRecord, index: usize) -> PathBuf {
        self.layout.layer(&image.layers[index].diff_id)
    }

    /// Another process with the same directory, after the first has died.
    pub(crate) fn again(mut self) -> Self {
        let options = self.options.clone();
        self.store = ImageStore::open(&self.layout, Arc::<MemoryCatalog>::default(), options).expect("open");
        self.store.recover().expect("recover");
        self
    }

    /// Names of what is not finished.
    pub(crate) fn staged(&self) -> Vec<String> {
        [names(self.layout.staging()), names(self.layout.partial())].concat()
    }

    /// Names in `layers/`.
    pub(crate) fn layers(&self) -> Vec<String> {
        names(self.layout.layers())
    }

    /// Nothing visible and nothing left.
    pub(crate) fn assert_untouched(&self) {
        assert_eq!(self.store.list().expect("list"), []);
        assert_eq!(self.staged(), Vec::<String>::new());
    }
}

fn names(directory: PathBuf) -> Vec<String> {
    let entries = std::fs::read_dir(directory).expect("list");
    let name = |entry: std::io::Result<std::fs::DirEntry>| entry.expect("entry").file_name();
    let mut names: Vec<String> = entries.map(|entry| name(entry).into_string().expect("text")).collect();
    names.sort();
    names
}

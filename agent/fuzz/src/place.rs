//! A directory for one input, with a canary beside it that no input may touch.

use std::fs::{self, Metadata};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::sync::LazyLock;
use tempfile::TempDir;

/// An empty directory that goes with everything in it when dropped.
pub struct Place {
    root: TempDir,
}

/// What stands beside the directories of all inputs.
struct Canary {
    parent: TempDir,
    file: PathBuf,
    before: (i64, i64, u64),
}

/// Made once per process, long before the first input has run: times are coarse.
static CANARY: LazyLock<Canary> = LazyLock::new(|| {
    let parent = tempfile::tempdir().expect("a temporary directory");
    let file = parent.path().join("canary");
    fs::write(&file, b"untouched").expect("write the canary");
    let before = change(&fs::symlink_metadata(&file).expect("the canary"));
    Canary { parent, file, before }
});

impl Place {
    pub fn new() -> Self {
        Self { root: tempfile::tempdir_in(CANARY.parent.path()).expect("a directory for this input") }
    }

    pub fn path(&self) -> &Path {
        self.root.path()
    }

    /// Panics when anything outside the directory has changed.
    pub fn check_surroundings(&self) {
        let canary = fs::symlink_metadata(&CANARY.file).expect("the canary is gone");
        assert_eq!(change(&canary), CANARY.before, "the canary was touched");
        let beside = fs::read_dir(CANARY.parent.path()).expect("list the parent").count();
        assert_eq!(beside, 2, "something stands beside the root");
    }
}

impl Default for Place {
    fn default() -> Self {
        Self::new()
    }
}

/// Content, owner, mode, links, attributes: whatever changes shows in the time of the last change.
fn change(file: &Metadata) -> (i64, i64, u64) {
    (file.ctime(), file.ctime_nsec(), file.len())
}

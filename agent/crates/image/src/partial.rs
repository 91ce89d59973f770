//! Layers in the making that outlive the process that makes them.
//!
//! A layer has a directory below `partial/`, with its files in `root/` and, beside them, how far it has come. There are
//! two such notes. The one beside the files is written seldom, after they have been flushed, and is right after a power
//! cut. The other is written often, to memory: it is right for as long as the machine runs, since what a process wrote
//! is there for the next one whether it has come to the disk or not.

use crate::checkpoint::{self, Checkpoint};
use crate::layer::Expected;
use crate::usage;
use edgelet_sys::durable;
use edgelet_sys::root::RootDir;
use edgelet_types::{Digest, Layout};
use std::ffi::OsStr;
use std::fs::{self, DirBuilder, File};
use std::io::{self, ErrorKind, Read};
use std::os::fd::AsFd;
use std::os::unix::fs::DirBuilderExt;
use std::path::{Path, PathBuf};

/// One layer's directory. Whoever has it is the only one that makes the layer.
#[derive(Debug)]
pub(crate) struct Partial {
    directory: PathBuf,
    /// The note in memory.
    volatile: PathBuf,
    root: RootDir,
}

const ROOT: &str = "root";
const NOTE: &str = "checkpoint";
/// More than the names of all directories of the largest layer.
const NOTE_BYTES: u64 = 64 << 20;

impl Partial {
    /// Opens what is there of the layer, with how far it has come, or begins with nothing.
    pub(crate) fn open(layout: &Layout, expected: &Expected) -> io::Result<(Self, Option<Checkpoint>)> {
        let name = expected.diff_id.to_hex();
        let (directory, volatile) = (layout.partial().join(&name), layout.pulls().join(&name));
        DirBuilder::new().recursive(true).mode(0o700).create(&directory)?;
        let of_boot = boot_id().and_then(|boot| read(&volatile)?.strip_prefix(&boot[..]).map(<[u8]>::to_vec));
        let notes = [of_boot, read(&directory.join(NOTE))];
        let checkpoint = notes.into_iter().flatten().find_map(|note| checkpoint::decode(&note, expected));
        let place = RootDir::open(&directory)?.place(ROOT)?;
        if checkpoint.is_none() || place.stat()?.is_none() {
            let empty = Self { root: RootDir::open(&directory)?, directory, volatile };
            empty.forget()?;
            place.remove_all()?;
            place.mkdir(0o755)?;
            place.set_mode(0o755)?;
            return Ok((Self { root: empty.root.open_dir(ROOT)?, ..empty }, None));
        }
        let root = RootDir::open(&directory)?.open_dir(ROOT)?;
        Ok((Self { directory, volatile, root }, checkpoint))
    }

    /// The layer's files.
    pub(crate) fn root(&self) -> &RootDir {
        &self.root
    }

    /// Bytes of its regular files.
    pub(crate) fn file_bytes(&self) -> io::Result<u64> {
        usage::file_bytes(&RootDir::open(&self.directory)?, OsStr::new(ROOT))
    }

    /// Notes how far it has come, for as long as the machine runs. What cannot be noted costs time later, and nothing now.
    pub(crate) fn note(&self, checkpoint: &[u8]) {
        let write = || -> io::Result<()> {
            let boot = boot_id().ok_or(ErrorKind::NotFound)?;
            let (Some(parent), Some(name)) = (self.volatile.parent(), self.volatile.file_name()) else {
                return Ok(());
            };
            DirBuilder::new().recursive(true).mode(0o700).create(parent)?;
            let name = name.to_str().ok_or(ErrorKind::InvalidInput)?;
            durable::publish_volatile(parent, name, &[&boot[..], checkpoint].concat(), 0o600)
        };
        if let Err(error) = write() {
            log::debug!("progress of a layer not noted path={} cause={error}", self.volatile.display());
        }
    }

    /// Flushes the files, and then notes how far it has come for good.
    pub(crate) fn keep(&self, checkpoint: &[u8]) -> io::Result<()> {
        durable::sync_filesystem(&self.root)?;
        durable::publish(&self.directory, NOTE, checkpoint, 0o600)
    }

    /// From here on nobody can go on from what was noted.
    pub(crate) fn forget(&self) -> io::Result<()> {
        let removed = [remove(&self.volatile)?, remove(&self.directory.join(NOTE))?];
        match removed.contains(&true) {
            true => durable::sync_dir(&self.directory),
            false => Ok(()),
        }
    }

    /// Makes the finished layer one that stands. The order matters: content before name, name before anybody may rely
    /// on it.
    pub(crate) fn publish(self, diff_id: &Digest, layout: &Layout) -> io::Result<()> {
        durable::sync_filesystem(&self.root)?;
        let layers = File::open(layout.layers())?;
        let directory = File::open(&self.directory)?;
        match durable::rename_noreplace(directory.as_fd(), ROOT, &layers, diff_id.to_hex()) {
            // Somebody else made the same layer; theirs is as good.
            Err(error) if error.kind() == ErrorKind::AlreadyExists => {}
            Err(error) => return Err(error),
            Ok(()) => layers.sync_all()?,
        }
        self.discard();
        Ok(())
    }

    /// Removes everything, unless somebody can go on from it.
    pub(crate) fn leave(self) {
        if !is_noted(&self.directory, &self.volatile) {
            self.discard();
        }
    }

    /// Removes everything.
    pub(crate) fn discard(self) {
        let remove = || {
            self.forget()?;
            let parent = self.directory.parent().unwrap_or(Path::new("/"));
            let name = self.directory.file_name().unwrap_or_default();
            RootDir::open(parent)?.place(name)?.remove_all()
        };
        if let Err(error) = remove() {
            let directory = self.directory.display();
            log::warn!("partial layer could not be removed, a restart will path={directory} cause={error}");
        }
    }
}

/// Whether somebody can go on with a layer.
pub(crate) fn can_go_on(layout: &Layout, layer: &Digest) -> bool {
    let name = layer.to_hex();
    is_noted(&layout.partial().join(&name), &layout.pulls().join(&name))
}

/// Forgets what was noted in memory of a layer whose directory goes.
pub(crate) fn forget_volatile(layout: &Layout, layer: &Digest) -> io::Result<()> {
    remove(&layout.pulls().join(layer.to_hex())).map(drop)
}

fn is_noted(directory: &Path, volatile: &Path) -> bool {
    volatile.exists() || directory.join(NOTE).exists()
}

/// Which start of the machine this is.
fn boot_id() -> Option<Vec<u8>> {
    fs::read("/proc/sys/kernel/random/boot_id").ok()
}

fn read(path: &Path) -> Option<Vec<u8>> {
    let mut note = Vec::new();
    File::open(path).ok()?.take(NOTE_BYTES).read_to_end(&mut note).ok()?;
    Some(note)
}

/// Whether there was something to remove.
fn remove(path: &Path) -> io::Result<bool> {
    match fs::remove_file(path) {
        Ok(()) => Ok(true),
        Err(error) if error.kind() == ErrorKind::NotFound => Ok(false),
        Err(error) => Err(error),
    }
}

//! Directories for work in progress. What is in `staging/` means nothing to anybody; it may be removed
//! whenever the work that made it is not running.

use edgelet_sys::place::Place;
use edgelet_sys::root::RootDir;
use edgelet_types::Layout;
use std::fs::File;
use std::io;
use std::os::fd::AsFd;

/// A directory in `staging/` with a name of its own, removed with everything in it when dropped.
pub(crate) struct Staging {
    place: Place,
    root: RootDir,
    name: String,
}

impl Staging {
    /// Makes a new, empty one.
    pub(crate) fn create(layout: &Layout) -> io::Result<Self> {
        let parent = RootDir::open(&layout.staging())?;
        let name = random_name()?;
        let place = parent.place(&name)?;
        place.mkdir(0o755)?;
        place.set_mode(0o755)?;
        let root = parent.open_dir(&name)?;
        Ok(Self { place, root, name })
    }

    /// The directory.
    pub(crate) fn root(&self) -> &RootDir {
        &self.root
    }
}

impl Drop for Staging {
    fn drop(&mut self) {
        if let Err(error) = self.place.remove_all() {
            log::warn!(
                "staging directory could not be removed, a restart will name={} cause={error}",
                self.name
            );
        }
    }
}

/// A name that nobody else has: 64 random bits.
pub(crate) fn random_name() -> io::Result<String> {
    let mut bytes = [0; 8];
    getrandom::fill(&mut bytes).map_err(io::Error::other)?;
    Ok(bytes.iter().map(|byte| format!("{byte:02x}")).collect())
}

/// Removes everything in `staging/` and says how many bytes of disk that freed. To be called only while
/// no work is running.
pub(crate) fn clear(layout: &Layout) -> io::Result<u64> {
    let staging = RootDir::open(&layout.staging())?;
    let mut freed = 0;
    for entry in std::fs::read_dir(layout.staging())? {
        let name = entry?.file_name();
        freed += crate::usage::disk_bytes(&staging, &name)?;
        staging.place(&name)?.remove_all()?;
    }
    File::from(staging.as_fd().try_clone_to_owned()?).sync_all()?;
    Ok(freed)
}

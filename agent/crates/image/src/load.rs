//! Images from a file: OCI layouts and docker archives, as directories or tar files, compressed or not.

mod archive;
mod docker;
mod oci;

pub use archive::ArchiveError;

use crate::layer::{self, Expected, Surroundings};
use crate::progress::{CancelToken, Phase, Progress};
use crate::pull::{Found, PullCause};
use crate::store::ImageStore;
use archive::Archive;
use edgelet_types::image::ImageRecord;
use edgelet_types::{Digest, Fault, ImageRef, Platform, UnixMillis};
use std::collections::BTreeMap;
use std::io::{self, Read};
use std::path::{Path, PathBuf};

/// Why an archive could not be loaded. Images in it that were loaded before the failure stay.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
#[error("load {path:?}")]
pub struct LoadError {
    /// The archive.
    pub path: PathBuf,
    /// Why.
    #[source]
    pub cause: Box<PullCause>,
}

impl From<LoadError> for Fault {
    fn from(error: LoadError) -> Fault {
        Fault::chain(error.cause.reason(), &error)
    }
}

/// An image in an archive: what it is, what it is called there, and where its layers are.
struct Loadable {
    found: Found,
    names: Vec<ImageRef>,
    /// Names of the layers' files in the archive, by unpacked digest.
    files: BTreeMap<Digest, String>,
}

impl ImageStore {
    /// Makes every image of an archive that runs on `platform` stand here, by the names that the archive
    /// gives it. `path` is an OCI layout (a directory or a tar file) or a docker archive, plain or
    /// compressed with gzip or zstd. A compressed one is unpacked to the data file system first, since it
    /// has to be read in another order than it was written.
    ///
    /// Blocks. An archive with no image for `platform` is an error.
    pub fn load(
        &self,
        path: &Path,
        platform: &Platform,
        now: UnixMillis,
        progress: &dyn Progress,
        cancel: &CancelToken,
    ) -> Result<Vec<ImageRecord>, LoadError> {
        self.load_all(path, platform, now, progress, cancel).map_err(|cause| {
            let cause = if cancel.is_cancelled() { PullCause::Cancelled } else { cause };
            LoadError { path: path.to_owned(), cause: Box::new(cause) }
        })
    }

    fn load_all(
        &self,
        path: &Path,
        platform: &Platform,
        now: UnixMillis,
        progress: &dyn Progress,
        cancel: &CancelToken,
    ) -> Result<Vec<ImageRecord>, PullCause> {
        progress.phase(Phase::Resolving);
        let around = self.surroundings(progress, cancel);
        let archive = Archive::open(path, &around)?;
        let loadables = match (archive.has("index.json")?, archive.has("manifest.json")?) {
            // Newer docker archives are both; the OCI half has the digests of the layers as well.
            (true, _) => oci::images(&archive, platform)?,
            (false, true) => docker::images(&archive, platform)?,
            (false, false) => return Err(ArchiveError::Unknown.into()),
        };
        let mut images = Vec::new();
        for Loadable { found, names, files } in loadables {
            let make = |expected: &Expected, around: &Surroundings<'_>| {
                let digest = expected.diff_id;
                let name = files.get(&digest).map(String::as_str).unwrap_or_default();
                archive.open_file(name)?;
                let open = |from: u64| {
                    let (mut source, _) = archive.open_file(name).map_err(io::Error::other)?;
                    io::copy(&mut source.by_ref().take(from), &mut io::sink())?;
                    Ok(source)
                };
                layer::make(open, expected, around).map_err(|source| PullCause::Layer { digest, source })
            };
            let image = self.assemble(found, names, now, progress, cancel, &make)?;
            let (id, names) = (&image.id, image.names.len());
            log::info!("image loaded image={id} names={names} layers={}", image.layers.len());
            images.push(image);
        }
        Ok(images)
    }
}

//! Docker archives: what `docker save` writes, and `skopeo` by the name `docker-archive`.

use super::Loadable;
use super::archive::{Archive, ArchiveError};
use crate::config::ImageConfig;
use crate::layer::Expected;
use crate::manifest::ManifestError;
use crate::pull::{Found, PullCause};
use edgelet_types::{Digest, ImageRef, Platform, limits};
use serde::Deserialize;

/// One image in `manifest.json`.
#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Item {
    config: String,
    repo_tags: Option<Vec<String>>,
    layers: Vec<String>,
}

/// Every image of the archive that runs on `platform`.
pub(super) fn images(archive: &Archive, platform: &Platform) -> Result<Vec<Loadable>, PullCause> {
    let bytes = archive.read("manifest.json", "bytes of manifest.json", limits::MANIFEST_BYTES)?;
    let items: Vec<Item> = serde_json::from_slice(&bytes)
        .map_err(|error| ManifestError::Malformed { what: "manifest.json", cause: error.to_string() })?;
    let mut images = Vec::new();
    let mut offered = Vec::new();
    for item in items {
        let limit = limits::IMAGE_CONFIG_BYTES;
        let bytes = archive.read(&item.config, "bytes of a configuration", limit)?;
        let config = ImageConfig::parse(&bytes, item.layers.len())?;
        if config.platform.fit(platform).is_none() {
            offered.push(config.platform);
            continue;
        }
        let tags = item.repo_tags.iter().flatten();
        let names: Result<Vec<_>, _> = tags.map(|tag| ImageRef::parse(tag)).collect();
        let names = names.map_err(ArchiveError::Name)?;
        // Nothing promises what the stored layers hash to; their unpacked content is what counts.
        let layers = config.diff_ids.iter().map(|diff_id| Expected { diff_id: *diff_id, content: None });
        let layers = layers.collect();
        let files = config.diff_ids.iter().copied().zip(item.layers).collect();
        let config_digest = Digest::of(&bytes);
        let found = Found { manifest: None, config_digest, config, layers };
        images.push(Loadable { found, names, files });
    }
    match images.is_empty() {
        true => Err(PullCause::Platform { wanted: platform.clone(), offered }),
        false => Ok(images),
    }
}

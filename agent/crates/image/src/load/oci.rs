//! OCI layouts (OCI image-spec 1.1, image-layout.md).

use super::Loadable;
use super::archive::{Archive, blob_name};
use crate::config::ImageConfig;
use crate::layer::Expected;
use crate::manifest::{Blob, Document, Entry, Index, Manifest, ManifestError};
use crate::pull::{Found, INDEX_DEPTH, PullCause};
use edgelet_types::{ImageRef, Platform, limits};

/// Every image of the layout that runs on `platform`.
pub(super) fn images(archive: &Archive, platform: &Platform) -> Result<Vec<Loadable>, PullCause> {
    let bytes = archive.read("index.json", "bytes of index.json", limits::MANIFEST_BYTES)?;
    let index = match Document::parse(&bytes, None)? {
        Document::Index(index) => index,
        Document::Manifest(_) => {
            let text = "index.json is no index".to_owned();
            return Err(ManifestError::Contradiction(text).into());
        }
    };
    let mut images = Vec::new();
    let mut offered = Vec::new();
    for (names, entry) in choose(index, platform) {
        match image(archive, &entry.blob, platform, INDEX_DEPTH)? {
            Ok((manifest, blob, config)) => images.push(loadable(manifest, &blob, config, names)),
            Err(others) => offered.extend(others),
        }
    }
    match images.is_empty() {
        true => Err(PullCause::Platform { wanted: platform.clone(), offered }),
        false => Ok(images),
    }
}

/// One entry for each name: where several have the same, they are variants for different platforms, and the
/// best one is taken. Entries without a name are images of their own.
fn choose(index: Index, platform: &Platform) -> Vec<(Vec<ImageRef>, Entry)> {
    let mut groups: Vec<(Vec<ImageRef>, Index)> = Vec::new();
    for entry in index.entries {
        let names = names(&entry);
        match groups.iter_mut().find(|(other, _)| !names.is_empty() && *other == names) {
            Some((_, group)) => group.entries.push(entry),
            None => groups.push((names, Index { entries: vec![entry] })),
        }
    }
    let best = |(names, group): (Vec<ImageRef>, Index)| {
        // A lone entry is looked at whatever it says: its configuration decides.
        let chosen = group.choose(platform).or(group.entries.first()).cloned();
        chosen.map(|entry| (names, entry))
    };
    groups.into_iter().filter_map(best).collect()
}

/// What the entry is called. The reference name is often a bare tag, which names nothing without a
/// repository; such an image is loaded without a name.
fn names(entry: &Entry) -> Vec<ImageRef> {
    let annotation = |key: &str| entry.annotations.get(key).map(String::as_str);
    let complete = annotation("org.opencontainers.image.ref.name").filter(|name| name.contains([':', '/']));
    let name = annotation("io.containerd.image.name").or(complete);
    name.and_then(|name| ImageRef::parse(name).ok()).into_iter().collect()
}

type Described = (Manifest, Blob, ImageConfig);

/// Follows an entry to an image; the inner error says for which platforms there are others.
fn image(
    archive: &Archive,
    blob: &Blob,
    platform: &Platform,
    depth: usize,
) -> Result<Result<Described, Vec<Platform>>, PullCause> {
    let Some(depth) = depth.checked_sub(1) else {
        let limit = INDEX_DEPTH as u64;
        return Err(ManifestError::TooMany { what: "indexes in indexes", count: limit + 1, limit }.into());
    };
    let bytes = archive.blob(blob, "bytes of a manifest", limits::MANIFEST_BYTES)?;
    match Document::parse(&bytes, None)? {
        Document::Index(index) => match index.choose(platform) {
            Some(entry) => image(archive, &entry.blob, platform, depth),
            None => Ok(Err(index.entries.into_iter().filter_map(|entry| entry.platform).collect())),
        },
        Document::Manifest(manifest) => {
            let limit = limits::IMAGE_CONFIG_BYTES;
            let bytes = archive.blob(&manifest.config, "bytes of a configuration", limit)?;
            let config = ImageConfig::parse(&bytes, manifest.layers.len())?;
            match config.platform.fit(platform) {
                Some(_) => Ok(Ok((manifest, *blob, config))),
                None => Ok(Err(vec![config.platform])),
            }
        }
    }
}

fn loadable(manifest: Manifest, blob: &Blob, config: ImageConfig, names: Vec<ImageRef>) -> Loadable {
    let pairs = || config.diff_ids.iter().zip(&manifest.layers);
    let layers = pairs().map(|(diff_id, layer)| Expected { diff_id: *diff_id, content: Some(*layer) });
    let layers = layers.collect();
    let files = pairs().map(|(diff_id, layer)| (*diff_id, blob_name(&layer.digest))).collect();
    let (manifest, config_digest) = (Some(blob.digest), manifest.config.digest);
    Loadable { found: Found { manifest, config_digest, config, layers }, names, files }
}

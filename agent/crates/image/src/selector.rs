//! Which image somebody means.

use crate::store::StoreError;
use edgelet_types::image::ImageRecord;
use edgelet_types::{Digest, ImageRef};

/// The fewest digits of an image id that are taken for one.
const PREFIX_DIGITS: usize = 3;
/// How many candidates are listed.
const CANDIDATES: usize = 8;

/// The index of the image that `selector` names. A name beats an id: `add` may be either.
pub(crate) fn find(images: &[ImageRecord], selector: &str) -> Result<usize, StoreError> {
    let absent = || StoreError::NotFound(selector.to_owned());
    if let Ok(name) = ImageRef::parse(selector)
        && let Some(index) = images.iter().position(|image| image.names.contains(&name))
    {
        return Ok(index);
    }
    if let Ok(digest) = Digest::parse(selector) {
        let is_it = |image: &ImageRecord| image.id == digest || image.manifest == Some(digest);
        return images.iter().position(is_it).ok_or_else(absent);
    }
    let digits = selector.strip_prefix("sha256:").unwrap_or(selector);
    let is_hex = digits.bytes().all(|byte| matches!(byte, b'0'..=b'9' | b'a'..=b'f'));
    if digits.len() < PREFIX_DIGITS || !is_hex {
        return Err(absent());
    }
    let starts = |(_, image): &(usize, &ImageRecord)| image.id.to_hex().starts_with(digits);
    let found: Vec<(usize, &ImageRecord)> = images.iter().enumerate().filter(starts).collect();
    match found[..] {
        [] => Err(absent()),
        [(index, _)] => Ok(index),
        _ => Err(StoreError::Ambiguous {
            selector: selector.to_owned(),
            candidates: found.iter().take(CANDIDATES).map(|(_, image)| describe(image)).collect(),
        }),
    }
}

fn describe(image: &ImageRecord) -> String {
    match image.names.first() {
        Some(name) => format!("{} ({})", image.id.short(), name.familiar()),
        None => image.id.short(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use edgelet_types::image::RunConfig;
    use edgelet_types::{Platform, UnixMillis};

    fn image(digits: &str, name: Option<&str>) -> ImageRecord {
        ImageRecord {
            id: Digest::from_hex(&format!("{digits:0<64}")).expect(digits),
            manifest: Some(Digest::of(digits.as_bytes())),
            platform: Platform::host(),
            names: name.map(|name| ImageRef::parse(name).expect(name)).into_iter().collect(),
            layers: Vec::new(),
            config: RunConfig::default(),
            created: None,
            published_at: UnixMillis(0),
        }
    }

    #[test]
    fn names_ids_and_beginnings_of_ids_are_found() {
        let images = [image("abc1", Some("busybox:1")), image("abc2", None), image("def", Some("abc2"))];
        let find = |selector: &str| find(&images, selector).map_err(|error| error.to_string());
        assert_eq!(find("busybox:1"), Ok(0));
        assert_eq!(find("docker.io/library/busybox:1"), Ok(0));
        assert_eq!(find("abc1"), Ok(0));
        assert_eq!(find("abc2"), Ok(2), "a name beats an id");
        assert_eq!(find("sha256:abc2"), Ok(1));
        assert_eq!(find(&images[1].id.to_string()), Ok(1));
        assert_eq!(find(&Digest::of(b"def").to_string()), Ok(2), "by manifest");
        assert_eq!(find("abc"), Err("\"abc\" could be abc100000000 (busybox:1), abc200000000".to_owned()));
        for absent in ["ab", "busybox", "fff", "", "../etc", "ABC1"] {
            assert_eq!(find(absent), Err(format!("no image {absent:?}")));
        }
    }
}

#![no_main]
//! Layers: nothing outside the root is touched, and every byte that stands has been counted.

use edgelet_fuzz::place::Place;
use edgelet_fuzz::tar::seal;
use edgelet_image::fuzzing::unpack;
use libfuzzer_sys::fuzz_target;
use std::collections::BTreeMap;
use std::fs;
use std::os::unix::fs::MetadataExt;
use std::path::Path;

const LIMIT: u64 = 1 << 20;

fuzz_target!(|layer: &[u8]| {
    let place = Place::new();
    let root = place.path();
    // Compressed ones are taken as they are.
    let sealed = match layer {
        [0x1f, 0x8b, ..] | [0x28, 0xb5, 0x2f, 0xfd, ..] => layer.to_vec(),
        _ => seal(layer),
    };
    let unpacked = unpack(&sealed, root, LIMIT);
    place.check_surroundings();
    if let Ok(counted) = unpacked {
        let mut files = BTreeMap::new();
        measure(root, &mut files);
        let there: u128 = files.values().map(|bytes| u128::from(*bytes)).sum();
        assert!(u128::from(counted) >= there, "{there} bytes stand, {counted} were counted");
    }
});

/// Sizes of all regular files by inode.
fn measure(dir: &Path, files: &mut BTreeMap<u64, u64>) {
    for entry in fs::read_dir(dir).expect("list what was unpacked") {
        let path = entry.expect("an entry").path();
        let meta = fs::symlink_metadata(&path).expect("an entry's attributes");
        if meta.is_dir() {
            measure(&path, files);
        } else if meta.is_file() {
            files.insert(meta.ino(), meta.len());
        }
    }
}

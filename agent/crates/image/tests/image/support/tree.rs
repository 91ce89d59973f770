//! What a directory holds, in a form that can be compared.

use edgelet_types::Digest;
use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::os::unix::fs::MetadataExt;
use std::path::Path;
use std::process::Command;

/// Every object below `root` by path, with all that an archive can say about it. The root itself is `.`.
pub(crate) fn listing(root: &Path) -> BTreeMap<String, String> {
    let mut found = BTreeMap::new();
    let mut inodes = BTreeMap::new();
    walk(root, ".", &mut inodes, &mut found);
    for line in xattrs(root) {
        let (path, attribute) = line;
        if let Some(entry) = found.get_mut(&path) {
            let _ = write!(entry, " {attribute}");
        }
    }
    found
}

fn walk(root: &Path, name: &str, inodes: &mut BTreeMap<u64, String>, found: &mut BTreeMap<String, String>) {
    let path = root.join(name);
    let meta = std::fs::symlink_metadata(&path).unwrap_or_else(|error| panic!("{path:?}: {error}"));
    let mut text = format!("{:o} {}:{} {}", meta.mode(), meta.uid(), meta.gid(), meta.mtime());
    if meta.is_symlink() {
        let _ = write!(text, " -> {:?}", std::fs::read_link(&path).expect("a link"));
    } else if meta.is_file() {
        let content = std::fs::read(&path).expect("a file");
        let _ = write!(text, " {} {}", meta.len(), Digest::of(&content).short());
        // The first name in order stands for all; a link made to the wrong file would show.
        let first = inodes.entry(meta.ino()).or_insert_with(|| name.to_owned());
        let _ = write!(text, " = {first}");
    } else if !meta.is_dir() {
        let _ = write!(text, " {:x}", meta.rdev());
    }
    found.insert(name.to_owned(), text);
    if meta.is_dir() {
        let entries = std::fs::read_dir(&path).expect("a directory");
        let mut names: Vec<_> = entries.map(|entry| entry.expect("entry").file_name()).collect();
        names.sort();
        for child in names {
            walk(root, &format!("{name}/{}", child.to_string_lossy()), inodes, found);
        }
    }
}

/// Extended attributes as `getfattr` shows them.
fn xattrs(root: &Path) -> Vec<(String, String)> {
    let mut command = Command::new("getfattr");
    command.args(["-R", "-h", "-d", "-m", "-", "-e", "hex", "."]).current_dir(root);
    let output = super::run(&mut command);
    let mut path = String::new();
    let mut attributes = Vec::new();
    for line in String::from_utf8_lossy(&output.stdout).lines() {
        match line.strip_prefix("# file: ") {
            Some(file) if file == "." => path = file.to_owned(),
            Some(file) => path = format!("./{file}"),
            None if !line.is_empty() => attributes.push((path.clone(), line.to_owned())),
            None => {}
        }
    }
    attributes
}

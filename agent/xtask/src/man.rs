//! Man pages and completions, from the command line's own definition.

use crate::generated::{self, Generated, Mode};
use crate::run::{cargo, run, target_dir, workspace};
use anyhow::{Context, Result, bail};
use std::fs;
use std::path::{Path, PathBuf};

/// Pages that nothing makes: `edgelet-oci` reads its arguments by itself. A test of the crate compares them.
const BY_HAND: &[&str] = &["edgelet-oci.8"];

/// Writes or checks `assets/man` and `assets/completions`.
pub fn make(mode: Mode) -> Result<()> {
    let draft = target_dir().join("manual");
    if draft.exists() {
        fs::remove_dir_all(&draft).with_context(|| format!("remove {}", draft.display()))?;
    }
    let example = ["run", "--quiet", "--locked", "-p", "edgelet-cli", "--example", "manual", "--"];
    run(cargo(&example).arg(&draft))?;
    let mut files = Vec::new();
    for part in ["man", "completions"] {
        let dir = workspace().join("assets").join(part);
        for name in names(&draft.join(part))? {
            let text =
                fs::read_to_string(draft.join(part).join(&name)).with_context(|| format!("read {name}"))?;
            files.push(Generated { path: dir.join(name), text });
        }
        for stranger in strangers(&dir, &files)? {
            match mode {
                Mode::Write => {
                    fs::remove_file(&stranger).with_context(|| format!("remove {}", stranger.display()))?
                }
                Mode::Check => bail!("{} is of no command, run `cargo xtask man`", stranger.display()),
            }
        }
    }
    generated::apply(mode, "man", &files)
}

/// Files of commands that are no more.
fn strangers(dir: &Path, files: &[Generated]) -> Result<Vec<PathBuf>> {
    let there = if dir.exists() { names(dir)? } else { Vec::new() };
    let paths = there.iter().filter(|name| !BY_HAND.contains(&name.as_str())).map(|name| dir.join(name));
    Ok(paths.filter(|path| !files.iter().any(|file| file.path == *path)).collect())
}

fn names(dir: &Path) -> Result<Vec<String>> {
    let entries = fs::read_dir(dir).with_context(|| format!("list {}", dir.display()))?;
    let name = |entry: std::io::Result<fs::DirEntry>| Ok(entry?.file_name().to_string_lossy().into_owned());
    let mut names = entries.map(name).collect::<Result<Vec<_>>>()?;
    names.sort();
    Ok(names)
}

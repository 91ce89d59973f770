//! Files that are made from others and committed all the same, because those who use them have no cargo.

use anyhow::{Context, Result, bail};
use std::fs::{self, File};
use std::io::Write;
use std::path::{Path, PathBuf};

/// What to do with a generated file.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Mode {
    /// Write it.
    Write,
    /// Fail when what is there is not what would be written.
    Check,
}

impl Mode {
    /// From what stands behind the word.
    pub fn parse(arguments: &[String]) -> Result<Self> {
        match arguments {
            [] => Ok(Self::Write),
            [word] if word == "--check" => Ok(Self::Check),
            other => bail!("unexpected {}; only --check can be given", other.join(" ")),
        }
    }
}

/// A file and what belongs in it.
pub struct Generated {
    /// Where it lies.
    pub path: PathBuf,
    /// All of it.
    pub text: String,
}

/// Writes or checks all of them. `word` of xtask makes them.
pub fn apply(mode: Mode, word: &str, files: &[Generated]) -> Result<()> {
    match mode {
        Mode::Write => {
            for file in files {
                write(file)?;
            }
        }
        Mode::Check => {
            let stale: Vec<String> = files.iter().filter(|file| !is_current(file)).map(shown).collect();
            if !stale.is_empty() {
                bail!("not up to date, run `cargo xtask {word}`:\n  {}", stale.join("\n  "));
            }
        }
    }
    println!("{word}: {} files up to date", files.len());
    Ok(())
}

fn write(file: &Generated) -> Result<()> {
    if is_current(file) {
        return Ok(());
    }
    let dir = file.path.parent().unwrap_or(Path::new("/"));
    fs::create_dir_all(dir).with_context(|| format!("create {}", dir.display()))?;
    let written = File::create(&file.path).and_then(|mut made| made.write_all(file.text.as_bytes()));
    written.with_context(|| format!("write {}", file.path.display()))
}

fn is_current(file: &Generated) -> bool {
    fs::read(&file.path).is_ok_and(|found| found == file.text.as_bytes())
}

fn shown(file: &Generated) -> String {
    file.path.display().to_string()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_check_names_what_is_stale_or_absent_and_a_write_mends_it() {
        let dir = std::env::temp_dir().join(format!("edgelet-xtask-generated-{}", std::process::id()));
        let file = |name: &str| Generated { path: dir.join("d").join(name), text: format!("{name}\n") };
        let files = [file("a"), file("b")];
        let check = || apply(Mode::Check, "word", &files).map_err(|error| error.to_string());
        assert!(check().expect_err("absent").contains("d/a"));
        apply(Mode::Write, "word", &files).expect("write");
        assert_eq!(check(), Ok(()));
        File::create(&files[1].path).and_then(|mut made| made.write_all(b"other")).expect("write");
        let error = check().expect_err("stale");
        assert!(
            error.contains("d/b") && !error.contains("d/a") && error.contains("cargo xtask word"),
            "{error}"
        );
        apply(Mode::Write, "word", &files).expect("write");
        assert_eq!(check(), Ok(()));
        fs::remove_dir_all(&dir).expect("remove");
    }
}

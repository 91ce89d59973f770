//! Whether the same sources give the same bytes when they are built somewhere else.

use crate::dist::{self, PROGRAMS, Place, Stamp};
use anyhow::{Context, Result, bail};
use std::fs;
use std::path::Path;

/// Folders that are no sources of a release.
const LEFT_OUT: &[&str] = &["target", "fuzz"];

/// Builds here, and once more from a copy in another directory with another home of cargo; compares.
pub fn check(names: &[String]) -> Result<()> {
    let architectures = dist::choose(names)?;
    // Both before the first build, which takes minutes: somebody may commit meanwhile.
    let stamp = Stamp::find();
    let elsewhere = std::env::temp_dir().join(format!("edgelet-reproducible-{}", std::process::id()));
    let place = copy(&Place::own()?, &elsewhere)?;
    dist::build_as(&architectures, &stamp)?;
    for arch in architectures {
        dist::compile(arch, &place, &stamp)?;
        for program in PROGRAMS {
            let (first, second) = (dist::dir(arch).join(program), place.built(arch).join(program));
            same(&first, &second)?;
            println!("reproducible: {} {program}", arch.name);
        }
    }
    fs::remove_dir_all(&elsewhere).with_context(|| format!("remove {}", elsewhere.display()))
}

/// Copies the sources. The home of cargo gets another name only: what lies in it was downloaded.
fn copy(own: &Place, to: &Path) -> Result<Place> {
    let place = Place {
        workspace: to.join("another/place"),
        target: to.join("built"),
        cargo_home: to.join("home/of/cargo"),
    };
    fs::create_dir_all(&place.cargo_home)
        .with_context(|| format!("create {}", place.cargo_home.display()))?;
    for entry in fs::read_dir(&own.cargo_home).context("list the home of cargo")? {
        let entry = entry?;
        std::os::unix::fs::symlink(entry.path(), place.cargo_home.join(entry.file_name()))?;
    }
    copy_dir(&own.workspace, &place.workspace, LEFT_OUT)?;
    Ok(place)
}

fn copy_dir(from: &Path, to: &Path, left_out: &[&str]) -> Result<()> {
    fs::create_dir_all(to).with_context(|| format!("create {}", to.display()))?;
    for entry in fs::read_dir(from).with_context(|| format!("list {}", from.display()))? {
        let entry = entry?;
        let (name, path) = (entry.file_name(), entry.path());
        if left_out.iter().any(|left_out| name == *left_out) {
            continue;
        }
        match entry.file_type()?.is_dir() {
            true => copy_dir(&path, &to.join(name), &[])?,
            false => {
                fs::copy(&path, to.join(name)).with_context(|| format!("copy {}", path.display()))?;
            }
        }
    }
    Ok(())
}

/// Both files have the same bytes; what differs stays, to be looked at.
fn same(first: &Path, second: &Path) -> Result<()> {
    let read = |path: &Path| fs::read(path).with_context(|| format!("read {}", path.display()));
    let (one, other) = (read(first)?, read(second)?);
    if one == other {
        return Ok(());
    }
    let at = one.iter().zip(&other).take_while(|(a, b)| a == b).count();
    bail!("{} and {} differ from byte {at} on", first.display(), second.display())
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::Write;

    #[test]
    fn files_differ_from_the_first_byte_that_does_also_when_one_ends() {
        let dir = std::env::temp_dir().join(format!("edgelet-xtask-same-{}", std::process::id()));
        fs::create_dir_all(&dir).expect("mkdir");
        let file = |name: &str, text: &[u8]| {
            let path = dir.join(name);
            fs::File::create(&path).and_then(|mut file| file.write_all(text)).expect("write");
            path
        };
        let (a, b, c) = (file("a", b"same"), file("b", b"same"), file("c", b"same and more"));
        assert!(same(&a, &b).is_ok());
        assert!(same(&a, &c).expect_err("longer").to_string().ends_with("differ from byte 4 on"));
        fs::remove_dir_all(&dir).expect("remove");
    }
}

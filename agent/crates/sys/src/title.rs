//! What others see a process called.

use nix::errno::Errno;
use std::ffi::{CString, OsStr};
use std::fs::{self, OpenOptions};
use std::io;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::FileExt;
use std::path::Path;

/// Replaces the arguments that ps(1) shows of the calling process, and its short name. What is longer than the
/// arguments it was started with is cut off.
pub fn set_title(arguments: &[&OsStr]) -> io::Result<()> {
    let stat = fs::read_to_string("/proc/self/stat")?;
    let (start, end) = arguments_at(&stat).ok_or(Errno::ENODATA)?;
    let room = usize::try_from(end.saturating_sub(start)).map_err(|_| Errno::EOVERFLOW)?;
    let mut text = Vec::with_capacity(room);
    for argument in arguments {
        text.extend_from_slice(argument.as_bytes());
        text.push(0);
    }
    // The last byte stays NUL: with any other one, the kernel looks for the end among the environment.
    text.resize(room.saturating_sub(1), 0);
    // The kernel writes as the process would, to memory that is the process's own to write.
    OpenOptions::new().write(true).open("/proc/self/mem")?.write_all_at(&text, start)?;
    let name = arguments.first().map(Path::new).and_then(Path::file_name).unwrap_or_default();
    let name = CString::new(name.as_bytes()).map_err(|_| Errno::EINVAL)?;
    Ok(nix::sys::prctl::set_name(&name)?)
}

/// Where the arguments are in memory (proc(5), stat, fields 48 and 49).
fn arguments_at(stat: &str) -> Option<(u64, u64)> {
    let (_, rest) = stat.rsplit_once(')')?;
    let mut fields = rest.split_ascii_whitespace().skip(45);
    Some((fields.next()?.parse().ok()?, fields.next()?.parse().ok()?))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_arguments_are_where_the_kernel_says() {
        let stat = fs::read_to_string("/proc/self/stat").expect("stat");
        let (start, end) = arguments_at(&stat).expect("fields");
        let memory = fs::File::open("/proc/self/mem").expect("memory");
        let mut found = vec![0; usize::try_from(end - start).expect("small")];
        memory.read_exact_at(&mut found, start).expect("read");
        assert_eq!(found, fs::read("/proc/self/cmdline").expect("cmdline"));
    }

    #[test]
    fn a_name_with_parentheses_and_blanks_does_not_confuse() {
        let stat = format!("7 (a) b) S {}", (4..60).map(|field| field.to_string() + " ").collect::<String>());
        assert_eq!(arguments_at(&stat), Some((48, 49)));
        assert_eq!(arguments_at("7 (a) S 1 2"), None);
    }
}

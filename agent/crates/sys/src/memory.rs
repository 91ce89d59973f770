//! Giving memory back.

use std::fs;
use std::io;

/// Lets go of code that was mapped in because it ran once, such as all of a start. What runs again is mapped
/// again from the page cache. For a process that will sleep for days after a busy start, and of which there
/// are many.
///
/// Only code: read-only data may have been written to while the program was loaded (RELRO). Fails only when
/// `/proc` cannot be read; the memory then stays.
pub fn release_code_pages() -> io::Result<()> {
    for line in fs::read_to_string("/proc/self/maps")?.lines() {
        if let Some((start, length)) = code_mapping(line) {
            // SAFETY: the mapping is private, of a file, executable and not writable: our programs have no
            // text relocations, so its pages are the file's. MADV_DONTNEED takes them away and the next
            // access maps the same bytes again; no memory changes.
            let _ = unsafe { libc::madvise(std::ptr::with_exposed_provenance_mut(start), length, libc::MADV_DONTNEED) };
        }
    }
    Ok(())
}

/// The address and length of a mapping of a program's code (proc(5), `/proc/PID/maps`:
/// `start-end rwxp offset device inode path`).
fn code_mapping(line: &str) -> Option<(usize, usize)> {
    let mut fields = line.split_ascii_whitespace();
    let (range, access, _, _, inode) =
        (fields.next()?, fields.next()?, fields.next()?, fields.next()?, fields.next()?);
    if inode == "0" || access != "r-xp" {
        return None;
    }
    let (start, end) = range.split_once('-')?;
    let (start, end) = (usize::from_str_radix(start, 16).ok()?, usize::from_str_radix(end, 16).ok()?);
    Some((start, end.checked_sub(start)?))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_code_mappings_are_let_go() {
        let code = "00400000-00401000 r-xp 00000000 fe:00 5529628   /usr/bin/edgelet";
        assert_eq!(code_mapping(code), Some((0x40_0000, 0x1000)));
        for kept in [
            "00402000-00403000 rw-p 00002000 fe:00 5529628   /usr/bin/edgelet",
            "00402000-00403000 r--p 00002000 fe:00 5529628   /usr/bin/edgelet",
            "00402000-00403000 r-xs 00002000 fe:00 5529628   /var/shared",
            "7f0000000000-7f0000001000 r-xp 00000000 00:00 0   [vdso]",
            "nonsense",
        ] {
            assert_eq!(code_mapping(kept), None, "{kept}");
        }
    }

    #[test]
    fn the_program_goes_on_as_before() {
        let before = fs::read("/proc/self/exe").unwrap().len();
        release_code_pages().unwrap();
        assert_eq!(fs::read("/proc/self/exe").unwrap().len(), before);
    }
}

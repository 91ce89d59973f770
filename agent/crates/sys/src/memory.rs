//! Giving memory back.

use std::fs;
use std::io;

/// Lets go of pages of program files that were mapped in because something ran or was read once, such as all
/// of a start. What is needed again is mapped again from the page cache. For a process that will sleep for
/// days after a busy start, and of which there are many.
///
/// For processes with one thread. Fails only when `/proc` cannot be read; the memory then stays.
pub fn release_program_pages() -> io::Result<()> {
    for (start, length) in clean_program_mappings(&fs::read_to_string("/proc/self/smaps")?) {
        // SAFETY: the mapping is private, of a file, not writable, and holds no page that differs from the
        // file (no anonymous ones); nothing can change that in between, because there is no other thread.
        // MADV_DONTNEED takes pages away, and the next access maps the same bytes of the file again.
        let _ = unsafe {
            libc::madvise(std::ptr::with_exposed_provenance_mut(start), length, libc::MADV_DONTNEED)
        };
    }
    Ok(())
}

/// Addresses and lengths of file mappings of which every page is as in the file (proc(5), `/proc/PID/smaps`: a
/// line as in `/proc/PID/maps`, then one line per figure). Read-only is not enough: what was relocated while
/// the program was loaded is read-only too (RELRO), and has anonymous pages.
fn clean_program_mappings(smaps: &str) -> Vec<(usize, usize)> {
    let mut clean = Vec::new();
    let mut mapping = None;
    for line in smaps.lines() {
        if let Some(anonymous) = line.strip_prefix("Anonymous:") {
            clean.extend(mapping.take().filter(|_| anonymous.trim() == "0 kB"));
        } else if line.starts_with(|c: char| c.is_ascii_hexdigit()) && line.contains('-') {
            mapping = read_only_file(line);
        }
    }
    clean
}

/// `start-end rwxp offset device inode path`
fn read_only_file(line: &str) -> Option<(usize, usize)> {
    let mut fields = line.split_ascii_whitespace();
    let (range, access, _, _, inode) =
        (fields.next()?, fields.next()?, fields.next()?, fields.next()?, fields.next()?);
    if inode == "0" || !matches!(access, "r-xp" | "r--p") {
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
    fn only_what_is_as_in_the_file_is_let_go() {
        let block = |header: &str, anonymous: &str| {
            format!("{header}\nSize: 4 kB\nAnonymous:     {anonymous} kB\nVmFlags: rd\n")
        };
        let code = block("00400000-00401000 r-xp 00000000 fe:00 552   /usr/bin/edgelet", "0");
        let constants = block("00500000-00502000 r--p 00000000 fe:00 552   /usr/bin/edgelet", "0");
        let kept = [
            block("00600000-00601000 r--p 00002000 fe:00 552   /usr/bin/edgelet", "4"),
            block("00602000-00603000 rw-p 00002000 fe:00 552   /usr/bin/edgelet", "0"),
            block("00402000-00403000 r-xs 00002000 fe:00 552   /var/shared", "0"),
            block("7f0000000000-7f0000001000 r-xp 00000000 00:00 0   [vdso]", "0"),
            "nonsense\nAnonymous: 0 kB\n".to_owned(),
        ];
        let smaps = code + &kept.concat() + &constants;
        assert_eq!(clean_program_mappings(&smaps), [(0x40_0000, 0x1000), (0x50_0000, 0x2000)]);
    }

    #[test]
    fn the_program_goes_on_as_before() {
        let before = fs::read("/proc/self/exe").unwrap().len();
        release_program_pages().unwrap();
        assert_eq!(fs::read("/proc/self/exe").unwrap().len(), before);
    }
}

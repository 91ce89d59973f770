//! The log files of one workload: an open one and a bounded number of closed ones.
//!
//! Durability: *may lose* what the kernel had not written back at a power cut. Nothing is synced on
//! purpose: a chatty container must not wear out the flash.

use edgelet_types::workload::LogLimit;
use std::fs::{self, File, OpenOptions};
use std::io::{self, Write};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

/// The file that is being written; closed ones have `.1`, `.2`, … behind it, the newest first.
pub const CURRENT: &str = "0.log";

/// Writes entries and keeps them within a [`LogLimit`].
pub struct Journal {
    dir: PathBuf,
    limit: LogLimit,
    file: Option<File>,
    size: u64,
    lost_bytes: u64,
}

impl Journal {
    /// Opens the log of a workload in `dir`, going on behind what an earlier instance wrote.
    pub fn open(dir: &Path, limit: LogLimit) -> io::Result<Self> {
        fs::DirBuilder::new().recursive(true).mode(0o700).create(dir)?;
        let mut journal = Self { dir: dir.to_owned(), limit, file: None, size: 0, lost_bytes: 0 };
        journal.reopen()?;
        Ok(journal)
    }

    /// Appends whole entries. A failing disk must not stop the container: what cannot be written is
    /// counted, and the count is logged as soon as writing works again.
    pub fn append(&mut self, time: &str, entries: &[u8]) {
        if entries.is_empty() {
            return;
        }
        if self.lost_bytes > 0 {
            let note = format!(
                "{time} stderr F edgelet: {} bytes of output were lost: log not writable\n",
                self.lost_bytes
            );
            if self.write(note.as_bytes()).is_ok() {
                self.lost_bytes = 0;
            }
        }
        if self.write(entries).is_err() {
            self.lost_bytes += entries.len() as u64;
            // Whatever is wrong with this file, a new descriptor gives the next entry a fresh chance.
            self.file = None;
        }
    }

    fn write(&mut self, entries: &[u8]) -> io::Result<()> {
        if self.size > 0 && self.size + entries.len() as u64 > self.limit.file_bytes {
            self.rotate()?;
        }
        if self.file.is_none() {
            self.reopen()?;
        }
        let Some(file) = &mut self.file else { return Err(io::ErrorKind::NotFound.into()) };
        if let Err(error) = file.write_all(entries) {
            // Half an entry would spoil the next one. When even this fails, that is the lesser harm.
            let _ = file.set_len(self.size);
            return Err(error);
        }
        self.size += entries.len() as u64;
        Ok(())
    }

    fn reopen(&mut self) -> io::Result<()> {
        let path = self.dir.join(CURRENT);
        let file = OpenOptions::new()
            .append(true)
            .create(true)
            .mode(0o600)
            .custom_flags(nix::libc::O_NOFOLLOW)
            .open(path)?;
        self.size = file.metadata()?.len();
        self.file = Some(file);
        Ok(())
    }

    /// Shifts every closed file by one place; the oldest is overwritten.
    fn rotate(&mut self) -> io::Result<()> {
        self.file = None;
        for place in (0..self.limit.files).rev() {
            match fs::rename(self.closed(place), self.closed(place + 1)) {
                Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
                _ => {}
            }
        }
        if self.limit.files == 0 {
            fs::remove_file(self.closed(0))?;
        }
        self.reopen()
    }

    fn closed(&self, place: u32) -> PathBuf {
        match place {
            0 => self.dir.join(CURRENT),
            place => self.dir.join(format!("{CURRENT}.{place}")),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn written(dir: &Path, name: &str) -> String {
        fs::read_to_string(dir.join(name)).unwrap_or_default()
    }

    #[test]
    fn the_log_stays_within_its_limit_and_keeps_the_newest() {
        let dir = tempfile::tempdir().unwrap();
        let mut journal = Journal::open(dir.path(), LogLimit { file_bytes: 8, files: 1 }).unwrap();
        for entry in ["one\n", "two\n", "three\n", "four\n"] {
            journal.append("T", entry.as_bytes());
        }
        assert_eq!(written(dir.path(), "0.log"), "four\n");
        assert_eq!(written(dir.path(), "0.log.1"), "three\n");
        assert!(!dir.path().join("0.log.2").exists());
    }

    #[test]
    fn without_closed_files_only_the_open_one_is_kept() {
        let dir = tempfile::tempdir().unwrap();
        let mut journal = Journal::open(dir.path(), LogLimit { file_bytes: 4, files: 0 }).unwrap();
        journal.append("T", b"one\n");
        journal.append("T", b"two\n");
        assert_eq!(written(dir.path(), "0.log"), "two\n");
        assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 1);
    }

    #[test]
    fn a_second_instance_goes_on_behind_the_first() {
        let dir = tempfile::tempdir().unwrap();
        for entry in ["one\n", "two\n"] {
            Journal::open(dir.path(), LogLimit::default()).unwrap().append("T", entry.as_bytes());
        }
        assert_eq!(written(dir.path(), "0.log"), "one\ntwo\n");
    }

    #[test]
    fn a_link_in_place_of_the_log_is_not_followed() {
        let dir = tempfile::tempdir().unwrap();
        let canary = dir.path().join("canary");
        std::os::unix::fs::symlink(&canary, dir.path().join(CURRENT)).unwrap();
        assert!(Journal::open(dir.path(), LogLimit::default()).is_err());
        assert!(!canary.exists());
    }

    #[test]
    fn lost_output_is_counted_and_told() {
        let dir = tempfile::tempdir().unwrap();
        let log = dir.path().join("log");
        let mut journal = Journal::open(&log, LogLimit { file_bytes: 4, files: 1 }).unwrap();
        journal.append("T", b"one\n");
        // With its directory gone, the log can neither be rotated nor opened again.
        fs::remove_dir_all(&log).unwrap();
        journal.append("T", b"two\n");
        fs::create_dir(&log).unwrap();
        journal.append("T", b"three\n");
        assert_eq!(written(&log, "0.log"), "three\n");
        assert!(
            written(&log, "0.log.1").contains("4 bytes of output were lost"),
            "{}",
            written(&log, "0.log.1")
        );
    }
}

//! Where messages go: standard error, or the file that the caller reads (containerd takes the `msg` of
//! the last line of a JSON log as the reason of a failure).

use edgelet_types::UnixMillis;
use log::{Level, LevelFilter, Log, Metadata, Record};
use serde_json::json;
use std::fs::{File, OpenOptions};
use std::io::{self, Write};
use std::os::fd::AsFd;
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;
use std::time::SystemTime;

/// A place for messages.
#[derive(Debug)]
pub(super) struct Report {
    file: Option<File>,
    json: bool,
    level: LevelFilter,
}

impl Report {
    pub(super) fn open(path: Option<&Path>, json: bool, debug: bool) -> io::Result<Self> {
        let open = |path| OpenOptions::new().create(true).append(true).mode(0o600).open(path);
        let level = if debug { LevelFilter::Debug } else { LevelFilter::Warn };
        Ok(Self { file: path.map(open).transpose()?, json, level })
    }

    /// Takes the messages of the libraries as well.
    pub(super) fn install(&self) {
        let Ok(file) = self.file.as_ref().map(File::try_clone).transpose() else { return };
        if let Some(file) = &file {
            edgelet_sys::descriptors::keep_for_messages(file.as_fd());
        }
        let copy = Self { file, json: self.json, level: self.level };
        if log::set_boxed_logger(Box::new(copy)).is_ok() {
            log::set_max_level(self.level);
        }
    }

    /// Says why the command failed; standard error gets that from the caller.
    pub(super) fn error(&self, message: &str) {
        if self.file.is_some() {
            self.write(Level::Error, message);
        }
    }

    fn write(&self, level: Level, message: &str) {
        let since = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
        let time = UnixMillis(i64::try_from(since.as_millis()).unwrap_or(i64::MAX)).to_string();
        let level = level.as_str().to_ascii_lowercase();
        let line = match self.json {
            true => format!("{}\n", json!({"level": level, "msg": message, "time": time})),
            false => format!("{time} {level}: {message}\n"),
        };
        // There is no further place to complain to.
        let _ = match &self.file {
            Some(file) => (&*file).write_all(line.as_bytes()),
            None => io::stderr().write_all(line.as_bytes()),
        };
    }
}

impl Log for Report {
    fn enabled(&self, metadata: &Metadata<'_>) -> bool {
        // What libraries notice (a cgroup tree that is not mounted) is no business of our callers, who read
        // everything that we write as being about their container.
        metadata.level() <= self.level
            && (metadata.target().starts_with("edgelet") || self.level >= Level::Debug)
    }

    fn log(&self, record: &Record<'_>) {
        if self.enabled(record.metadata()) {
            self.write(record.level(), &record.args().to_string());
        }
    }

    fn flush(&self) {}
}

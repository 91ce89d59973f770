//! Opening the database file: made whole or not at all, checked, and never replaced.

use crate::error::{OpenError, StoreError};
use crate::schema::{self, Found};
use redb::{Builder, Database, DatabaseError, ReadableDatabase, StorageBackend};
use std::fs::{File, OpenOptions};
use std::io;
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

/// Memory for cached pages, in bytes. The whole truth of a device with tens of workloads is a few hundred
/// KiB and fits; redb's own default of 1 GiB would be the daemon's largest number by far.
const CACHE_BYTES: usize = 1 << 20;

/// The mode of the file: specifications hold environment variables, and those hold secrets.
const MODE: u32 = 0o600;

/// Opens the file at `path`, after making it if there is none. `Found` says what is in it.
pub(crate) fn open(path: &Path) -> Result<(Database, Found), OpenError> {
    match open_existing(path) {
        Err(OpenError::Io { source, .. }) if source.kind() == io::ErrorKind::NotFound => {
            create(path)?;
            open_existing(path)
        }
        opened => opened,
    }
}

/// Opens the file at `path`, which must be there.
pub(crate) fn open_existing(path: &Path) -> Result<(Database, Found), OpenError> {
    let file = OpenOptions::new().read(true).write(true).open(path).map_err(io_error("open", path))?;
    if file.metadata().map_err(io_error("examine", path))?.len() == 0 {
        // redb would make a new database of it. Ours are never empty: somebody truncated it.
        return Err(OpenError::Damaged { path: path.to_owned(), problem: "the file is empty".to_owned() });
    }
    let database = builder().create_file(file).map_err(|error| database_error(path, error))?;
    check(path, database)
}

/// Opens a database over `backend`; an empty one is initialised.
pub(crate) fn open_backend(backend: impl StorageBackend) -> Result<(Database, Found), OpenError> {
    let path = Path::new("(backend)");
    let database = builder().create_with_backend(backend).map_err(|error| database_error(path, error))?;
    let found = check(path, database)?;
    if found.1 == Found::Empty {
        initialise(&found.0).map_err(|source| OpenError::Migrate {
            path: path.to_owned(),
            from: 0,
            source,
        })?;
        return Ok((found.0, Found::Version(schema::VERSION)));
    }
    Ok(found)
}

/// Makes the directory entry durable.
pub(crate) fn sync_parent(path: &Path) -> Result<(), OpenError> {
    let parent = parent(path);
    edgelet_sys::durable::sync_dir(parent).map_err(io_error("sync", parent))
}

/// A name beside `path` for work in progress; what an earlier, cut-short attempt left there is removed.
pub(crate) fn fresh_sibling(path: &Path, suffix: &str) -> Result<PathBuf, OpenError> {
    let sibling = sibling(path, suffix);
    match std::fs::remove_file(&sibling) {
        Err(source) if source.kind() != io::ErrorKind::NotFound => Err(io_error("remove", &sibling)(source)),
        _ => Ok(sibling),
    }
}

/// `path` with a suffix after its whole name.
pub(crate) fn sibling(path: &Path, suffix: &str) -> PathBuf {
    let mut name = path.as_os_str().to_owned();
    name.push(suffix);
    PathBuf::from(name)
}

/// The directory that `path` is in.
pub(crate) fn parent(path: &Path) -> &Path {
    match path.parent() {
        Some(parent) if !parent.as_os_str().is_empty() => parent,
        _ => Path::new("."),
    }
}

/// For `map_err`: puts what was being done beside what the file system said.
pub(crate) fn io_error(doing: &'static str, path: &Path) -> impl Fn(io::Error) -> OpenError {
    move |source| OpenError::Io { doing, path: path.to_owned(), source }
}

/// Makes a new, empty database. redb cannot open a file whose initialisation was cut short, so it is made
/// under another name and published when it is complete.
fn create(path: &Path) -> Result<(), OpenError> {
    let temporary = fresh_sibling(path, ".new")?;
    let file = OpenOptions::new().read(true).write(true).create_new(true).mode(MODE).open(&temporary);
    let file = file.map_err(io_error("create", &temporary))?;
    let database = builder().create_file(file).map_err(|error| database_error(&temporary, error))?;
    initialise(&database).map_err(|source| OpenError::Migrate {
        path: temporary.clone(),
        from: 0,
        source,
    })?;
    drop(database);
    sync_file(&temporary)?;
    std::fs::rename(&temporary, path).map_err(io_error("publish", path))?;
    sync_parent(path)
}

/// Makes everything written to the file durable, by whoever it was.
pub(crate) fn sync_file(path: &Path) -> Result<(), OpenError> {
    File::open(path).and_then(|file| file.sync_all()).map_err(io_error("sync", path))
}

/// Verifies every checksum, because redb itself does so only after a crash, and bits rot in between too.
/// It reads the whole file, which is small.
fn check(path: &Path, mut database: Database) -> Result<(Database, Found), OpenError> {
    if !database.check_integrity().map_err(|error| database_error(path, error))? {
        log::warn!("store: {path:?} was damaged and has been repaired; its last commit may be lost");
    }
    let read = database.begin_read().map_err(|error| store_error(path, StoreError::new("open", error)))?;
    let found = schema::found(&read).map_err(|error| store_error(path, error))?;
    drop(read);
    match found {
        Found::Foreign => Err(OpenError::Damaged {
            path: path.to_owned(),
            problem: "it is a database, but not one of ours".to_owned(),
        }),
        found => Ok((database, found)),
    }
}

fn initialise(database: &Database) -> Result<(), StoreError> {
    let write = database.begin_write().map_err(|error| StoreError::new("initialise", error))?;
    schema::create_tables(&write)?;
    schema::stamp(&write, schema::VERSION)?;
    write.commit().map_err(|error| StoreError::new("initialise", error))
}

fn builder() -> Builder {
    let mut builder = Database::builder();
    builder.set_cache_size(CACHE_BYTES);
    builder
}

fn database_error(path: &Path, error: DatabaseError) -> OpenError {
    let path = path.to_owned();
    match redb::Error::from(error) {
        redb::Error::DatabaseAlreadyOpen => OpenError::InUse { path },
        // redb's own word for a file that is not a database.
        redb::Error::Io(source) if source.kind() == io::ErrorKind::InvalidData => {
            OpenError::Damaged { path, problem: source.to_string() }
        }
        redb::Error::Io(source) => OpenError::Io { doing: "open", path, source },
        other => OpenError::Damaged { path, problem: other.to_string() },
    }
}

fn store_error(path: &Path, error: StoreError) -> OpenError {
    let path = path.to_owned();
    match error {
        StoreError::Io { doing, source } => OpenError::Io { doing, path, source },
        other => OpenError::Damaged { path, problem: other.to_string() },
    }
}

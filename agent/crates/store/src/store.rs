//! The store itself: typed reads, and one way to write.

use crate::database;
use crate::error::{OpenError, StoreError};
use crate::migrate;
use crate::row::{self, Rows};
use crate::schema::{FALLBACKS, IMAGES, META, NODE_KEY, SUPERVISION, TRACES, WORKLOADS};
use edgelet_types::image::ImageRecord;
use edgelet_types::record::{Change, Contents};
use redb::{Database, ReadTransaction, ReadableDatabase, StorageBackend, WriteTransaction};
use std::fmt;
use std::path::{Path, PathBuf};
use std::sync::{PoisonError, RwLock};

/// The open store. Shared by reference between threads; every call blocks on the file.
pub struct Store {
    /// `None` after an I/O error, until the file is opened again. Commits hold the lock for reading, like
    /// readers; redb itself lets one writer in at a time.
    database: RwLock<Option<Database>>,
    /// Where to open it again; absent for a backend, which is gone with its database.
    path: Option<PathBuf>,
}

impl Store {
    /// Opens the store at `path`, which must be in a directory that only root may enter. A missing file is
    /// made (mode 0600); an older schema is migrated on a copy, and the older file kept beside it until
    /// [`crate::forget_previous`].
    ///
    /// Errors leave the file as it was. A damaged file is never replaced.
    pub fn open(path: &Path) -> Result<Self, OpenError> {
        let database = migrate::open_current(path)?;
        Ok(Self { database: RwLock::new(Some(database)), path: Some(path.to_owned()) })
    }

    /// Opens a store over any storage; an empty one is initialised. For tests of what storage can do.
    pub fn with_backend(backend: impl StorageBackend) -> Result<Self, OpenError> {
        let database = migrate::open_current_backend(backend)?;
        Ok(Self { database: RwLock::new(Some(database)), path: None })
    }

    /// Reads everything but the images, as of one instant. Rows that cannot be read are listed, and the rest
    /// is returned.
    pub fn load(&self) -> Result<Contents, StoreError> {
        self.read(|read| {
            let workloads = row::all(read, WORKLOADS)?;
            let fallbacks = row::all(read, FALLBACKS)?;
            let supervision = row::all(read, SUPERVISION)?;
            let traces = row::all(read, TRACES)?;
            let node = row::get(read, META, NODE_KEY)?.transpose();
            let mut unreadable = workloads.unreadable;
            unreadable.extend(fallbacks.unreadable);
            unreadable.extend(supervision.unreadable);
            unreadable.extend(traces.unreadable);
            unreadable.extend(node.as_ref().err().cloned());
            Ok(Contents {
                workloads: workloads.read,
                fallbacks: fallbacks.read,
                supervision: supervision.read,
                traces: traces.read,
                node: node.unwrap_or_default(),
                unreadable,
            })
        })
    }

    /// Reads the index of images, as of one instant.
    pub fn images(&self) -> Result<Rows<ImageRecord>, StoreError> {
        self.read(|read| row::all(read, IMAGES))
    }

    /// Makes all of `changes` durable, in order, or none of them. When it returns `Ok` they survive any cut.
    ///
    /// After an I/O error (a full disk) the commit may or may not have become durable; the file is opened
    /// again by the next call, so that the store works again as soon as its storage does.
    pub fn commit(&self, changes: &[Change]) -> Result<(), StoreError> {
        if changes.is_empty() {
            return Ok(());
        }
        self.with(|database| {
            let write = database.begin_write().map_err(|error| StoreError::new("begin a commit", error))?;
            for change in changes {
                write_change(&write, change)?;
            }
            // One phase: a commit is one flush, and its checksums tell after a cut whether it is whole. Two
            // phases would guard against an attacker who controls the order in which the medium writes.
            write.commit().map_err(|error| StoreError::new("commit", error))
        })
    }

    fn read<T>(&self, read: impl Fn(&ReadTransaction) -> Result<T, StoreError>) -> Result<T, StoreError> {
        self.with(|database| {
            read(&database.begin_read().map_err(|error| StoreError::new("begin to read", error))?)
        })
    }

    /// Runs `call` on the open database. redb refuses every call after an I/O error until it is opened anew,
    /// so the database is let go then, and opened here by the next call.
    fn with<T>(&self, call: impl Fn(&Database) -> Result<T, StoreError>) -> Result<T, StoreError> {
        let result = {
            let open = self.database.read().unwrap_or_else(PoisonError::into_inner);
            open.as_ref().map(&call)
        };
        let result = match result {
            Some(result) => result,
            None => {
                let mut closed = self.database.write().unwrap_or_else(PoisonError::into_inner);
                if closed.is_none() {
                    *closed = Some(self.open_again()?);
                }
                closed.as_ref().map(&call).expect("it was opened above")
            }
        };
        if self.path.is_some() && matches!(result, Err(StoreError::Io { .. })) {
            *self.database.write().unwrap_or_else(PoisonError::into_inner) = None;
        }
        result
    }

    fn open_again(&self) -> Result<Database, StoreError> {
        let path = self.path.as_deref().expect("only a store with a path is ever closed");
        match database::open_existing(path) {
            Ok((database, _)) => Ok(database),
            Err(error) => Err(StoreError::Reopen(Box::new(error))),
        }
    }
}

impl fmt::Debug for Store {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Store").field("path", &self.path).finish_non_exhaustive()
    }
}

fn write_change(write: &WriteTransaction, change: &Change) -> Result<(), StoreError> {
    match change {
        Change::PutWorkload(workload) => row::put(write, WORKLOADS, workload.id.as_str(), workload),
        Change::RemoveWorkload(id) => {
            row::remove(write, WORKLOADS, id.as_str())?;
            row::remove(write, FALLBACKS, id.as_str())?;
            row::remove(write, SUPERVISION, id.as_str())
        }
        Change::PutFallback(workload) => row::put(write, FALLBACKS, workload.id.as_str(), workload),
        Change::RemoveFallback(id) => row::remove(write, FALLBACKS, id.as_str()),
        Change::PutSupervision(record) => row::put(write, SUPERVISION, record.workload.as_str(), record),
        Change::PutTrace(trace) => row::put(write, TRACES, trace.container.as_str(), trace),
        Change::RemoveTrace(container) => row::remove(write, TRACES, container.as_str()),
        Change::PutImage(record) => row::put(write, IMAGES, &record.id.to_string(), record),
        Change::RemoveImage(id) => row::remove(write, IMAGES, &id.to_string()),
        Change::PutNode(node) => row::put(write, META, NODE_KEY, node),
    }
}

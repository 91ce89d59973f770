//! Why the store could not be opened, and why it could not be read or written.

use edgelet_types::{Fault, Reason};
use std::io;
use std::path::PathBuf;

/// Why a store could not be opened. The file is as it was.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum OpenError {
    /// Another process has it open.
    #[error("{path:?} is in use by another daemon")]
    InUse {
        /// The database file.
        path: PathBuf,
    },
    /// A newer program wrote it, as after an update that was rolled back.
    #[error(
        "{path:?} has schema {found}, and this program knows schemas up to {known}; start the newer \
         program again, {}",
        match kept {
            Some(kept) => format!("or return to the state from before the update, which is kept in {kept:?}"),
            None => "or restore a copy from before the update; none is kept here".to_owned(),
        }
    )]
    Newer {
        /// The database file.
        path: PathBuf,
        /// Its schema.
        found: u32,
        /// Ours.
        known: u32,
        /// Where the state from before the migration is. [`crate::roll_back`] puts it in force.
        kept: Option<PathBuf>,
    },
    /// It is not a database of ours, or it is damaged beyond what the last two commits can repair.
    #[error(
        "{path:?} is damaged: {problem}; it was left as it is: restore a copy, or move it away to start \
         with an empty node and deploy again"
    )]
    Damaged {
        /// The database file.
        path: PathBuf,
        /// What is wrong.
        problem: String,
    },
    /// Taking an older file to the present schema failed. The older file is untouched.
    #[error("{path:?}: migrate from schema {from}")]
    Migrate {
        /// The database file.
        path: PathBuf,
        /// The schema of the step that failed.
        from: u32,
        /// What failed.
        source: StoreError,
    },
    /// The file system failed.
    #[error("{doing} {path:?}")]
    Io {
        /// What was being done.
        doing: &'static str,
        /// To what.
        path: PathBuf,
        /// What it said.
        source: io::Error,
    },
}

impl From<OpenError> for Fault {
    fn from(error: OpenError) -> Fault {
        let reason = match &error {
            OpenError::InUse { .. } => Reason::Conflict,
            OpenError::Newer { .. } | OpenError::Damaged { .. } => Reason::Storage,
            OpenError::Migrate { source, .. } => source.reason(),
            OpenError::Io { source, .. } => Reason::of_storage(source, Reason::Storage),
        };
        Fault::chain(reason, &error)
    }
}

/// Why the store could not be read or written. Nothing of the failed commit is visible, except that after
/// an I/O error it may turn out to have become durable; the next successful commit settles it.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum StoreError {
    /// The file system failed while this was being done.
    #[error("store: {doing}")]
    Io {
        /// What was being done.
        doing: &'static str,
        /// What it said.
        source: io::Error,
    },
    /// The database found itself damaged.
    #[error("store: {doing}: damaged: {problem}")]
    Damaged {
        /// What was being done.
        doing: &'static str,
        /// What is wrong.
        problem: String,
    },
    /// After an I/O error the file could not be opened again.
    #[error("store: open again after an i/o error")]
    Reopen(#[source] Box<OpenError>),
    /// A record could not be put into words. A defect of ours.
    #[error("store: encode a row of {table}")]
    Encode {
        /// The table.
        table: &'static str,
        /// What the encoder said.
        source: serde_json::Error,
    },
    /// The database refused in a way that correct use cannot cause. A defect of ours.
    #[error("store: {doing}: {problem}")]
    Misuse {
        /// What was being done.
        doing: &'static str,
        /// What it said.
        problem: String,
    },
}

impl StoreError {
    /// Sorts an error of redb. It keeps apart the kinds that different people must act on.
    pub(crate) fn new(doing: &'static str, error: impl Into<redb::Error>) -> Self {
        match error.into() {
            redb::Error::Io(source) => StoreError::Io { doing, source },
            redb::Error::PreviousIo => {
                StoreError::Io { doing, source: io::Error::other("an earlier write failed") }
            }
            redb::Error::Corrupted(problem) => StoreError::Damaged { doing, problem },
            other => StoreError::Misuse { doing, problem: other.to_string() },
        }
    }

    /// What code acts on.
    pub fn reason(&self) -> Reason {
        match self {
            StoreError::Io { source, .. } => Reason::of_storage(source, Reason::Storage),
            StoreError::Reopen(error) => match &**error {
                OpenError::Io { source, .. } => Reason::of_storage(source, Reason::Storage),
                _ => Reason::Storage,
            },
            StoreError::Damaged { .. } => Reason::Storage,
            StoreError::Encode { .. } | StoreError::Misuse { .. } => Reason::Internal,
        }
    }
}

impl From<StoreError> for Fault {
    fn from(error: StoreError) -> Fault {
        Fault::chain(error.reason(), &error)
    }
}

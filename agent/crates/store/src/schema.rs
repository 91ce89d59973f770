//! The tables, and the number of the schema.

use crate::error::StoreError;
use redb::{ReadTransaction, TableDefinition, TableError, WriteTransaction};

/// The schema that this program reads and writes. It grows by one with every change that an older program
/// would misread, together with an entry in the migration table.
pub const VERSION: u32 = 1;

/// A table of versioned JSON rows by a textual key.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Table {
    /// Its name in the file and in messages.
    pub(crate) name: &'static str,
}

impl Table {
    const fn new(name: &'static str) -> Self {
        Self { name }
    }

    /// What redb opens it by.
    pub(crate) const fn definition(self) -> TableDefinition<'static, &'static str, &'static [u8]> {
        TableDefinition::new(self.name)
    }
}

/// What somebody wants to run, by workload id. **Must survive**: it is the acknowledged intent.
pub(crate) const WORKLOADS: Table = Table::new("workloads");

/// What workloads were before an update that has not run yet, by workload id. **Must survive**: with it the
/// old release runs again after a reboot without a network, until the new image is here.
pub(crate) const FALLBACKS: Table = Table::new("fallbacks");

/// How workloads fare, by workload id. **Must survive**, but nothing runs wrongly without it: counters and
/// the crash history are for people.
pub(crate) const SUPERVISION: Table = Table::new("supervision");

/// The journal: containers that may have left something on the machine, by container id. **Must survive**:
/// without it an unfinished start leaks mounts and space.
pub(crate) const TRACES: Table = Table::new("traces");

/// Complete images, by image id. **Rebuildable**: losing a row costs a pull, never a workload's intent. It
/// is written with the same care because a pull may cost money or be impossible.
pub(crate) const IMAGES: Table = Table::new("images");

/// The schema's number, and the node's own record. **Must survive** (schema); **may lose** the last change
/// of the node's record, which is counters.
pub(crate) const META: Table = Table::new("meta");

/// The key in [`META`] of the schema's number, as decimal text.
pub(crate) const SCHEMA_KEY: &str = "schema";

/// The key in [`META`] of the node's record.
pub(crate) const NODE_KEY: &str = "node";

/// The tables whose keys are identities.
pub(crate) const RECORD_TABLES: [Table; 5] = [WORKLOADS, FALLBACKS, SUPERVISION, TRACES, IMAGES];

/// What a file says about its schema.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Found {
    /// A database without any table: it was just made.
    Empty,
    /// A database of ours.
    Version(u32),
    /// A database, but not one of ours.
    Foreign,
}

/// Reads the schema's number.
pub(crate) fn found(read: &ReadTransaction) -> Result<Found, StoreError> {
    let doing = "read the schema's number";
    let meta = match read.open_table(META.definition()) {
        Ok(meta) => meta,
        Err(TableError::TableDoesNotExist(_)) => {
            let mut tables = read.list_tables().map_err(|error| StoreError::new(doing, error))?;
            return Ok(if tables.next().is_none() { Found::Empty } else { Found::Foreign });
        }
        Err(TableError::TableTypeMismatch { .. }) => return Ok(Found::Foreign),
        Err(error) => return Err(StoreError::new(doing, error)),
    };
    let value = meta.get(SCHEMA_KEY).map_err(|error| StoreError::new(doing, error))?;
    let version = value.and_then(|value| std::str::from_utf8(value.value()).ok()?.parse().ok());
    Ok(version.map_or(Found::Foreign, Found::Version))
}

/// Writes the schema's number.
pub(crate) fn stamp(write: &WriteTransaction, version: u32) -> Result<(), StoreError> {
    let doing = "write the schema's number";
    let mut meta = write.open_table(META.definition()).map_err(|error| StoreError::new(doing, error))?;
    meta.insert(SCHEMA_KEY, version.to_string().as_bytes()).map_err(|error| StoreError::new(doing, error))?;
    Ok(())
}

/// Makes every table, so that readers need not know whether one was ever written.
pub(crate) fn create_tables(write: &WriteTransaction) -> Result<(), StoreError> {
    for table in RECORD_TABLES {
        write.open_table(table.definition()).map_err(|error| StoreError::new("create the tables", error))?;
    }
    Ok(())
}

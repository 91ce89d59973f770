//! Rows: a record as versioned JSON, `{"v":1,"row":{…}}`.
//!
//! JSON, because a file from the field can then be read by people, and because records are few and small.
//! The number is that of the row's shape; it lets one row be refused without refusing the file.

use crate::error::StoreError;
use crate::schema::Table;
use edgelet_types::record::Unreadable;
use redb::{ReadTransaction, ReadableTable, WriteTransaction};
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};

/// The shape of rows that this program writes, and the newest that it reads.
const ROW_VERSION: u32 = 1;

/// What a table held.
#[derive(Debug, Clone, PartialEq)]
pub struct Rows<T> {
    /// The rows that could be read, in the order of their keys.
    pub read: Vec<T>,
    /// The others. They stay where they are until somebody replaces or removes them.
    pub unreadable: Vec<Unreadable>,
}

#[derive(Serialize)]
struct Written<'a, T> {
    v: u32,
    row: &'a T,
}

/// First only the number is read, because a newer row may have any shape.
#[derive(Deserialize)]
struct Head {
    v: u32,
}

#[derive(Deserialize)]
struct Read<T> {
    row: T,
}

/// Adds or replaces a row.
pub(crate) fn put<T: Serialize>(
    write: &WriteTransaction,
    table: Table,
    key: &str,
    row: &T,
) -> Result<(), StoreError> {
    let bytes = encode(row).map_err(|source| StoreError::Encode { table: table.name, source })?;
    let mut open =
        write.open_table(table.definition()).map_err(|error| StoreError::new("open a table", error))?;
    open.insert(key, bytes.as_slice()).map_err(|error| StoreError::new("write a row", error))?;
    Ok(())
}

/// Removes a row, if it is there.
pub(crate) fn remove(write: &WriteTransaction, table: Table, key: &str) -> Result<(), StoreError> {
    let mut open =
        write.open_table(table.definition()).map_err(|error| StoreError::new("open a table", error))?;
    open.remove(key).map_err(|error| StoreError::new("remove a row", error))?;
    Ok(())
}

/// Reads one row; `None` if it is not there.
pub(crate) fn get<T: DeserializeOwned>(
    read: &ReadTransaction,
    table: Table,
    key: &str,
) -> Result<Option<Result<T, Unreadable>>, StoreError> {
    let open = read.open_table(table.definition()).map_err(|error| StoreError::new("open a table", error))?;
    let value = open.get(key).map_err(|error| StoreError::new("read a row", error))?;
    Ok(value.map(|value| decode(table, key, value.value())))
}

/// Reads a whole table.
pub(crate) fn all<T: DeserializeOwned>(read: &ReadTransaction, table: Table) -> Result<Rows<T>, StoreError> {
    let open = read.open_table(table.definition()).map_err(|error| StoreError::new("open a table", error))?;
    let mut rows = Rows { read: Vec::new(), unreadable: Vec::new() };
    for entry in open.iter().map_err(|error| StoreError::new("read a table", error))? {
        let (key, value) = entry.map_err(|error| StoreError::new("read a table", error))?;
        match decode(table, key.value(), value.value()) {
            Ok(row) => rows.read.push(row),
            Err(problem) => rows.unreadable.push(problem),
        }
    }
    Ok(rows)
}

fn encode<T: Serialize>(row: &T) -> Result<Vec<u8>, serde_json::Error> {
    serde_json::to_vec(&Written { v: ROW_VERSION, row })
}

fn decode<T: DeserializeOwned>(table: Table, key: &str, bytes: &[u8]) -> Result<T, Unreadable> {
    let unreadable = |problem: String| Unreadable { table: table.name, key: key.to_owned(), problem };
    let head: Head = serde_json::from_slice(bytes).map_err(|error| unreadable(error.to_string()))?;
    if head.v > ROW_VERSION {
        let (found, known) = (head.v, ROW_VERSION);
        return Err(unreadable(format!("row version {found}; this program knows up to {known}")));
    }
    let read: Read<T> = serde_json::from_slice(bytes).map_err(|error| unreadable(error.to_string()))?;
    Ok(read.row)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::schema::WORKLOADS;

    #[test]
    fn a_row_that_cannot_be_read_says_which_and_why() {
        let cases: [(&[u8], &str); 4] = [
            (b"", "EOF while parsing a value at line 1 column 0"),
            (b"{\"v\":2,\"new\":[]}", "row version 2; this program knows up to 1"),
            (b"{\"v\":1}", "missing field `row` at line 1 column 7"),
            (b"{\"v\":1,\"row\":\"x\"}", "invalid type: string \"x\", expected u8 at line 1 column 16"),
        ];
        for (bytes, problem) in cases {
            let unreadable = decode::<u8>(WORKLOADS, "key", bytes).expect_err(problem);
            assert_eq!(
                unreadable,
                Unreadable { table: "workloads", key: "key".into(), problem: problem.into() }
            );
        }
        assert_eq!(decode::<u8>(WORKLOADS, "key", &encode(&7u8).expect("encode")), Ok(7));
    }
}

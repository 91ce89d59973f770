//! The truth of a node: one redb file with the desired state, the journal, supervision records, images and
//! the node's own record.
//!
//! What it is not: it knows nothing of what the records mean, and holds nothing that is large or could be
//! fetched again, except the index of the images.
//!
//! Invariants:
//! - After a cut at any instant the file opens and shows either the last acknowledged commit or the one
//!   that was in flight, never something between.
//! - A file that cannot be opened is reported and left alone; it is never replaced by an empty one.
//! - One writer, many readers; a reader waits for no commit.
//! - The schema has a number. An older file is migrated on a copy and kept; a newer one is refused.

#![forbid(unsafe_code)]

mod database;
mod error;
mod migrate;
mod row;
mod schema;
mod store;

pub use error::{OpenError, StoreError};
pub use migrate::{forget_previous, roll_back};
pub use row::Rows;
pub use schema::VERSION;
pub use store::Store;

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
//! - One writer, many readers; a reader never waits for a writer.

#![forbid(unsafe_code)]

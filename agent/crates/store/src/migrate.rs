//! Taking an older file to the present schema, and back to the kept one after a rollback.
//!
//! A device with two system slots must be able to boot the older one again.
//! Therefore a migration never touches the older file: it works on a copy, publishes the copy, and
//! leaves the older file beside it as `NAME.vN` until it is told that there is no way back any more.

use crate::database::{self, io_error};
use crate::error::{OpenError, StoreError};
use crate::schema::{self, Found};
use redb::{Database, StorageBackend, WriteTransaction};
use std::path::{Path, PathBuf};

/// Takes a database from one schema to the next, within a transaction.
type Migration = fn(&WriteTransaction) -> Result<(), StoreError>;

/// What a program knows about schemas. A value, so that tests can be a program of the future.
#[derive(Clone, Copy)]
struct Schemas {
    /// The one that it reads and writes.
    version: u32,
    /// `migrations[n]` takes schema `n + 1` to `n + 2`.
    migrations: &'static [Migration],
}

/// Ours. Schema 1 is the first, so there is nothing to migrate from yet.
const OURS: Schemas = Schemas { version: schema::VERSION, migrations: &[] };

/// Opens the file at `path` in the present schema.
pub(crate) fn open_current(path: &Path) -> Result<Database, OpenError> {
    open_as(path, OURS)
}

/// Opens a database over `backend` in the present schema. There is no file to keep, so it is migrated in
/// place, in one transaction.
pub(crate) fn open_current_backend(backend: impl StorageBackend) -> Result<Database, OpenError> {
    let (database, found) = database::open_backend(backend)?;
    let path = Path::new("(backend)");
    match found {
        Found::Version(found) if found > OURS.version => Err(newer(path, found, OURS.version)),
        Found::Version(found) if found < OURS.version => {
            migrate(path, &database, found, OURS).map(|()| database)
        }
        _ => Ok(database),
    }
}

/// Removes the files of other schemas that migrations and rollbacks kept. To be called once the running
/// system has been marked good and there is no way back any more. Returns what was removed.
pub fn forget_previous(path: &Path) -> Result<Vec<PathBuf>, OpenError> {
    let directory = database::parent(path);
    let prefix = format!("{}.v", path.file_name().unwrap_or_default().to_string_lossy());
    let mut removed = Vec::new();
    for entry in std::fs::read_dir(directory).map_err(io_error("list", directory))? {
        let entry = entry.map_err(io_error("list", directory))?;
        let name = entry.file_name();
        let version = name.to_str().and_then(|name| name.strip_prefix(&prefix));
        if version.is_some_and(|version| version.parse::<u32>().is_ok()) {
            std::fs::remove_file(entry.path()).map_err(io_error("remove", &entry.path()))?;
            removed.push(entry.path());
        }
    }
    database::sync_parent(path)?;
    Ok(removed)
}

/// Puts the file in force that this program's schema was migrated away from, after [`OpenError::Newer`];
/// does nothing to a file that this program can open.
/// What was changed since the migration is not in it; the newer file is kept as `NAME.vN` for the way
/// forward. A cut leaves the one or the other in force.
pub fn roll_back(path: &Path) -> Result<(), OpenError> {
    roll_back_as(path, OURS)
}

fn open_as(path: &Path, ours: Schemas) -> Result<Database, OpenError> {
    let (database, found) = database::open(path)?;
    match found {
        Found::Version(found) if found > ours.version => Err(newer(path, found, ours.version)),
        Found::Version(found) if found < ours.version => {
            drop(database);
            migrate_on_a_copy(path, found, ours)?;
            database::open_existing(path).map(|(database, _)| database)
        }
        _ => Ok(database),
    }
}

fn migrate_on_a_copy(path: &Path, from: u32, ours: Schemas) -> Result<(), OpenError> {
    log::info!("store: migrating {path:?} from schema {from} to {}", ours.version);
    let copy = database::fresh_sibling(path, ".migrating")?;
    // Copies the mode too.
    std::fs::copy(path, &copy).map_err(io_error("copy to", &copy))?;
    let (database, _) = database::open_existing(&copy)?;
    migrate(path, &database, from, ours)?;
    drop(database);
    database::sync_file(&copy)?;
    keep(path, from)?;
    std::fs::rename(&copy, path).map_err(io_error("publish", path))?;
    database::sync_parent(path)
}

fn migrate(path: &Path, database: &Database, from: u32, ours: Schemas) -> Result<(), OpenError> {
    let failed = |from, source| OpenError::Migrate { path: path.to_owned(), from, source };
    let begun = database.begin_write().map_err(|error| StoreError::new("migrate", error));
    let write = begun.map_err(|source| failed(from, source))?;
    for version in from..ours.version {
        let step = version.checked_sub(1).and_then(|at| ours.migrations.get(usize::try_from(at).ok()?));
        let step = step.ok_or_else(|| OpenError::Damaged {
            path: path.to_owned(),
            problem: format!("there never was a schema {version}"),
        })?;
        step(&write).map_err(|source| failed(version, source))?;
    }
    schema::stamp(&write, ours.version).map_err(|source| failed(from, source))?;
    write.commit().map_err(|error| failed(from, StoreError::new("migrate", error)))
}

fn roll_back_as(path: &Path, ours: Schemas) -> Result<(), OpenError> {
    let (database, found) = database::open_existing(path)?;
    drop(database);
    let found = match found {
        Found::Version(found) if found > ours.version => found,
        _ => return Ok(()),
    };
    let older = kept(path, ours.version);
    if !older.exists() {
        return Err(newer(path, found, ours.version));
    }
    keep(path, found)?;
    std::fs::rename(&older, path).map_err(io_error("publish", path))?;
    database::sync_parent(path)
}

/// Gives the file in force a second name, `NAME.vN`, so that it outlives its replacement. It never loses
/// its first name before the replacement has it: there is no instant without a file in force.
fn keep(path: &Path, version: u32) -> Result<(), OpenError> {
    let link = database::fresh_sibling(path, ".keeping")?;
    std::fs::hard_link(path, &link).map_err(io_error("link to", &link))?;
    let kept = kept(path, version);
    std::fs::rename(&link, &kept).map_err(io_error("publish", &kept))?;
    database::sync_parent(path)
}

fn newer(path: &Path, found: u32, known: u32) -> OpenError {
    let kept = Some(kept(path, known)).filter(|kept| kept.exists());
    OpenError::Newer { path: path.to_owned(), found, known, kept }
}

fn kept(path: &Path, version: u32) -> PathBuf {
    database::sibling(path, &format!(".v{version}"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Store;
    use edgelet_types::record::{Change, NodeRecord};
    use redb::ReadableDatabase;

    /// The program after the next release: it renames a key.
    const FUTURE: Schemas = Schemas { version: schema::VERSION + 1, migrations: &[move_the_node] };

    fn move_the_node(write: &WriteTransaction) -> Result<(), StoreError> {
        let mut meta = write.open_table(schema::META.definition()).expect("open");
        let row = meta.remove(schema::NODE_KEY).expect("read").expect("there").value().to_vec();
        meta.insert("the-node", row.as_slice()).expect("write");
        Ok(())
    }

    fn put_boots(store: &Store, boots: u64) {
        store.commit(&[Change::PutNode(NodeRecord { boots, ..NodeRecord::default() })]).expect("commit");
    }

    fn boots(store: &Store) -> Option<u64> {
        store.load().expect("load").node.map(|node| node.boots)
    }

    #[test]
    fn an_older_program_returns_to_what_it_left_after_a_rolled_back_update() {
        let dir = tempfile::tempdir().expect("temporary directory");
        let path = dir.path().join("state.redb");
        put_boots(&Store::open(&path).expect("first program"), 7);

        let database = open_as(&path, FUTURE).expect("second program migrates");
        let read = database.begin_read().expect("read");
        assert_eq!(schema::found(&read).expect("version"), Found::Version(2));
        drop((read, database));

        let error = Store::open(&path).expect_err("the first program again");
        let OpenError::Newer { found: 2, known: 1, kept: Some(kept), .. } = &error else { panic!("{error}") };
        assert_eq!(kept, &dir.path().join("state.redb.v1"));
        assert!(error.to_string().contains("start the newer program again, or return"), "{error}");

        roll_back(&path).expect("return");
        let store = Store::open(&path).expect("the first program runs");
        assert_eq!(boots(&store), Some(7));
        put_boots(&store, 8);
        drop(store);
        // And forward again: the migration starts from what the older program wrote meanwhile.
        drop(open_as(&path, FUTURE).expect("second program again"));
        roll_back(&path).expect("return");
        assert_eq!(boots(&Store::open(&path).expect("first program")), Some(8));
        assert_eq!(forget_previous(&path).expect("forget"), [dir.path().join("state.redb.v2")]);
    }

    #[test]
    fn a_newer_file_without_a_kept_one_is_refused_and_left_alone() {
        let dir = tempfile::tempdir().expect("temporary directory");
        let path = dir.path().join("state.redb");
        let (database, _) = database::open(&path).expect("make");
        let write = database.begin_write().expect("write");
        schema::stamp(&write, 9).expect("stamp");
        write.commit().expect("commit");
        drop(database);
        for error in [Store::open(&path).expect_err("newer"), roll_back(&path).expect_err("nothing kept")] {
            assert!(matches!(error, OpenError::Newer { found: 9, known: 1, kept: None, .. }), "{error}");
        }
        let (_, found) = database::open_existing(&path).expect("still there");
        assert_eq!(found, Found::Version(9));
    }

    #[test]
    fn a_migration_that_fails_leaves_the_older_file_in_force() {
        fn fail(_: &WriteTransaction) -> Result<(), StoreError> {
            Err(StoreError::Misuse { doing: "migrate", problem: "no luck".to_owned() })
        }
        let dir = tempfile::tempdir().expect("temporary directory");
        let path = dir.path().join("state.redb");
        put_boots(&Store::open(&path).expect("open"), 3);
        let error = open_as(&path, Schemas { migrations: &[fail], ..FUTURE }).expect_err("fails");
        assert!(matches!(error, OpenError::Migrate { from: 1, .. }), "{error}");
        assert_eq!(boots(&Store::open(&path).expect("the first program")), Some(3));
    }
}

//! The store on a medium that loses power at every write and every sync, and on one that fails at every
//! call. The invariant: what is found afterwards is the last acknowledged commit, or the one in flight.

mod medium;
mod scenario;

use edgelet_store::{OpenError, Store, StoreError};
use edgelet_types::record::{Change, NodeRecord};
use edgelet_types::{Fault, Reason};
use medium::{Medium, Survivors, Trouble};
use scenario::{Model, Random};
use std::io::{ErrorKind, Write};
use std::path::{Path, PathBuf};
use std::process::Command;

/// Commits of one session of the store.
const SESSION: usize = 8;
/// Sessions of a scenario; between them the store is closed and opened again.
const SESSIONS: usize = 3;

/// How far a scenario came.
struct Progress {
    /// The commits that were acknowledged, as a model.
    acknowledged: Model,
    /// The commit that was neither acknowledged nor never begun.
    in_flight: Option<Model>,
    /// What was reported first, if anything.
    error: Option<Fault>,
}

impl Progress {
    fn allows(&self, found: &Model) -> bool {
        *found == self.acknowledged || self.in_flight.as_ref() == Some(found)
    }
}

/// A medium with a new, empty store. (How a store comes to be is not the medium's subject: its file is made
/// under another name and renamed.)
fn new_store() -> Vec<u8> {
    let medium = Medium::default();
    drop(Store::with_backend(medium.clone()).expect("a new store"));
    medium.live()
}

/// Plays the scenario until its end, or until something is reported.
fn play(medium: &Medium, commits: &[Vec<Change>]) -> Progress {
    let mut progress = Progress { acknowledged: Model::default(), in_flight: None, error: None };
    for session in commits.chunks(SESSION) {
        let store = match Store::with_backend(medium.clone()) {
            Ok(store) => store,
            Err(error) => return Progress { error: Some(error.into()), ..progress },
        };
        for changes in session {
            let mut next = progress.acknowledged.clone();
            next.apply(changes);
            match store.commit(changes) {
                Ok(()) => progress.acknowledged = next,
                Err(error) => {
                    return Progress { in_flight: Some(next), error: Some(error.into()), ..progress };
                }
            }
        }
    }
    progress
}

/// Opens what is left, checks it, and checks that it can be written again.
fn reopen(content: Vec<u8>, progress: &Progress, place: &str) -> Model {
    let store = Store::with_backend(Medium::new(content)).unwrap_or_else(|error| panic!("{place}: {error}"));
    let found = Model::of(&store).unwrap_or_else(|error| panic!("{place}: {error}"));
    assert!(progress.allows(&found), "{place}: neither the last acknowledged commit nor the one in flight");
    let node = NodeRecord { starts: 77, ..NodeRecord::default() };
    store.commit(&[Change::PutNode(node.clone())]).unwrap_or_else(|error| panic!("{place}: {error}"));
    assert_eq!(store.load().map(|contents| contents.node).ok(), Some(Some(node)), "{place}");
    found
}

#[test]
fn a_cut_at_any_write_or_sync_leaves_the_last_commit_or_the_one_in_flight() {
    let mut random = Random(1);
    let (mut places, mut images, mut in_flight, mut second_cuts) = (0, 0, 0, 0);
    for seed in 0..3 {
        let commits = scenario::commits(seed, SESSION * SESSIONS);
        let base = new_store();
        let whole = Medium::new(base.clone());
        assert!(play(&whole, &commits).error.is_none());
        for cut in 0..whole.ops() {
            let medium = Medium::new(base.clone()).with(Trouble::Cut(cut));
            let progress = play(&medium, &commits);
            places += 1;
            let modes = [Survivors::None, Survivors::All];
            let mixed = [Survivors::Some, Survivors::Torn];
            for survivors in modes.into_iter().chain(mixed).chain(mixed) {
                let left = medium.after_a_cut(survivors, || random.next());
                let place = format!("seed {seed}, cut {cut}, {survivors:?}");
                let found = reopen(left.clone(), &progress, &place);
                in_flight += u32::from(progress.in_flight == Some(found));
                images += 1;
                // Now and then the power goes again, at every place of the repair.
                if random.next().is_multiple_of(100) {
                    second_cuts += cut_the_repair(&left, &progress, &mut random, &place);
                }
            }
        }
    }
    println!(
        "store: {places} cuts, {images} images after them, {second_cuts} cuts of the repair; {in_flight} times the commit in flight had survived"
    );
    assert!(in_flight > 0, "no cut hit a commit late enough");
}

fn cut_the_repair(left: &[u8], progress: &Progress, random: &mut Random, place: &str) -> u64 {
    let whole = Medium::new(left.to_vec());
    drop(Store::with_backend(whole.clone()).expect("checked before"));
    for cut in 0..whole.ops() {
        let medium = Medium::new(left.to_vec()).with(Trouble::Cut(cut));
        drop(Store::with_backend(medium.clone()));
        for survivors in [Survivors::None, Survivors::All, Survivors::Some, Survivors::Torn] {
            let again = medium.after_a_cut(survivors, || random.next());
            reopen(again, progress, &format!("{place}, then cut {cut} of the repair, {survivors:?}"));
        }
    }
    whole.ops()
}

#[test]
fn a_failure_of_any_call_is_reported_and_loses_nothing() {
    let commits = scenario::commits(7, SESSION * SESSIONS);
    let base = new_store();
    let whole = Medium::new(base.clone()).counting_reads();
    assert!(play(&whole, &commits).error.is_none());
    let (mut reported, mut random) = (0, Random(2));
    for fail in 0..whole.ops() {
        for (kind, reason) in [(ErrorKind::StorageFull, Reason::NoSpace), (ErrorKind::Other, Reason::Storage)]
        {
            let medium = Medium::new(base.clone()).with(Trouble::Fail(fail, kind));
            let progress = play(&medium, &commits);
            let place = format!("call {fail} fails with {kind:?}");
            if let Some(fault) = &progress.error {
                assert_eq!(fault.reason, reason, "{place}: {fault}");
                reported += 1;
            }
            // The daemon goes on with what the system still has in memory, or loses power on top of it.
            reopen(medium.live(), &progress, &place);
            let left = medium.after_a_cut(Survivors::Torn, || random.next());
            reopen(left, &progress, &format!("{place}, and a cut"));
        }
    }
    println!("store: {} calls failed two ways, {reported} failures reported", whole.ops());
    assert!(reported > 0);
}

#[test]
fn the_check_can_fail() {
    // A medium that loses what was synced must be caught, or the tests above say nothing.
    let commits = scenario::commits(0, SESSION);
    let medium = Medium::new(new_store());
    let progress = play(&medium, &commits);
    let store = Store::with_backend(Medium::new(new_store())).expect("an empty store");
    assert!(!progress.allows(&Model::of(&store).expect("load")));
}

#[test]
fn a_full_disk_refuses_commits_and_room_heals_the_store() {
    let disk = SmallDisk::new();
    let path = disk.path().join("state.redb");
    let store = Store::open(&path).expect("open");
    let commits = scenario::commits(3, 200);
    store.commit(&commits[0]).expect("there is room");
    let filler = disk.fill();

    let before = Model::of(&store).expect("load");
    let mut model = before;
    let refused = commits[1..].iter().find_map(|changes| match store.commit(changes) {
        Ok(()) => {
            model.apply(changes);
            None
        }
        Err(error) => Some((changes, error)),
    });
    let (changes, error) = refused.expect("the disk gets full");
    assert!(matches!(&error, StoreError::Io { .. }), "{error}");
    assert_eq!(error.reason(), Reason::NoSpace, "{error}");
    let mut either = model.clone();
    either.apply(changes);

    std::fs::remove_file(&filler).expect("make room");
    let found = Model::of(&store).expect("the same store reads again");
    assert!(found == model || found == either);
    store.commit(changes).expect("and writes again");
    assert_eq!(Model::of(&store).ok(), Some(either.clone()));
    drop(store);
    assert_eq!(Model::of(&Store::open(&path).expect("open")).ok(), Some(either));
}

#[test]
fn a_full_disk_at_the_first_start_leaves_nothing_half_made() {
    let disk = SmallDisk::new();
    let path = disk.path().join("state.redb");
    let filler = disk.fill();
    let error = Store::open(&path).expect_err("no room");
    assert!(!path.exists(), "{error}");
    assert!(matches!(error, OpenError::Io { .. } | OpenError::Migrate { .. }), "{error}");
    assert_eq!(Fault::from(error).reason, Reason::NoSpace);
    std::fs::remove_file(filler).expect("make room");
    Store::open(&path).expect("a store");
}

/// A disk of 4 MiB, unmounted when dropped.
struct SmallDisk(tempfile::TempDir);

impl SmallDisk {
    fn new() -> Self {
        let disk = Self(tempfile::tempdir().expect("temporary directory"));
        let mut mount = Command::new("mount");
        mount.args(["-t", "tmpfs", "-o", "size=4m,mode=0700", "small-disk"]);
        let status = mount.arg(disk.path()).status().expect("mount is there");
        assert!(status.success(), "a tmpfs can be mounted (this test needs root)");
        disk
    }

    /// Fills it to the last page with a file, and returns which.
    fn fill(&self) -> PathBuf {
        let path = self.path().join("filler");
        let mut file = std::fs::File::create(&path).expect("create");
        while file.write_all(&[1; 4096]).is_ok() {}
        path
    }

    fn path(&self) -> &Path {
        self.0.path()
    }
}

impl Drop for SmallDisk {
    fn drop(&mut self) {
        let status = Command::new("umount").arg("-l").arg(self.0.path()).status();
        assert!(status.is_ok_and(|status| status.success()), "the small disk is unmounted");
    }
}

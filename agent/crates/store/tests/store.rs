//! The store through its public face, on real files.

use edgelet_store::{OpenError, Store};
use edgelet_types::image::{ImageRecord, RunConfig};
use edgelet_types::record::{Change, Contents, NodeRecord, StartCause, Supervision, Trace, Unreadable};
use edgelet_types::workload::{Source, Target};
use edgelet_types::{
    ContainerId, Digest, ImageRef, Name, Platform, UnixMillis, Workload, WorkloadId, WorkloadSpec,
};
use redb::TableDefinition;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;

fn workload(n: u8) -> Workload {
    Workload {
        id: WorkloadId::from_random([n; 16]),
        application: Name::parse("edgelet").expect("name"),
        name: Name::parse(&format!("w{n}")).expect("name"),
        source: Source::Local,
        target: Target::Running,
        generation: 1,
        spec: WorkloadSpec::of(ImageRef::parse("busybox").expect("reference")),
        manifest: Some("kind: Microservice\n".to_owned()),
        created_at: UnixMillis(1),
        updated_at: UnixMillis(2),
    }
}

fn trace(n: u8) -> Trace {
    Trace {
        container: ContainerId::from_random([n; 16]),
        workload: WorkloadId::from_random([n; 16]),
        generation: 1,
        order: 1,
        image: Digest::of(b"image"),
        boot: "boot".to_owned(),
        cause: StartCause::Requested,
        at: UnixMillis(3),
    }
}

fn image(n: u8) -> ImageRecord {
    ImageRecord {
        id: Digest::of(&[n]),
        manifest: None,
        platform: Platform::host(),
        names: vec![ImageRef::parse("busybox").expect("reference")],
        layers: Vec::new(),
        config: RunConfig::default(),
        created: None,
        published_at: UnixMillis(4),
    }
}

/// Puts raw bytes into a table, as another program might have.
fn put_raw(path: &Path, table: &str, key: &str, bytes: &[u8]) {
    let database = redb::Database::open(path).expect("open raw");
    let write = database.begin_write().expect("write raw");
    let definition: TableDefinition<&str, &[u8]> = TableDefinition::new(table);
    write.open_table(definition).expect("table").insert(key, bytes).expect("insert");
    write.commit().expect("commit raw");
}

#[test]
fn what_was_committed_is_there_after_a_restart() {
    let dir = tempfile::tempdir().expect("temporary directory");
    let path = dir.path().join("state.redb");
    let supervision = Supervision { restart_count: 4, ..Supervision::new(workload(2).id) };
    let node = NodeRecord { boots: 9, ..NodeRecord::default() };
    {
        let store = Store::open(&path).expect("a new store");
        assert_eq!(store.load().expect("load"), Contents::default());
        let changes = [
            Change::PutWorkload(Box::new(workload(1))),
            Change::PutWorkload(Box::new(workload(2))),
            Change::PutFallback(Box::new(workload(1))),
            Change::PutFallback(Box::new(workload(2))),
            Change::PutFallback(Box::new(workload(3))),
            Change::PutSupervision(Supervision::new(workload(1).id)),
            Change::PutSupervision(supervision.clone()),
            Change::PutTrace(trace(1)),
            Change::PutTrace(trace(2)),
            Change::PutImage(Box::new(image(1))),
            Change::PutImage(Box::new(image(2))),
            Change::PutNode(node.clone()),
        ];
        store.commit(&changes).expect("commit");
        let removals = [
            Change::RemoveWorkload(workload(1).id),
            Change::RemoveFallback(workload(3).id),
            Change::RemoveTrace(trace(1).container),
            Change::RemoveImage(image(1).id),
        ];
        store.commit(&removals).expect("commit");
    }
    let store = Store::open(&path).expect("the same store");
    let contents = Contents {
        workloads: vec![workload(2)],
        fallbacks: vec![workload(2)],
        supervision: vec![supervision],
        traces: vec![trace(2)],
        node: Some(node),
        unreadable: Vec::new(),
    };
    assert_eq!(store.load().expect("load"), contents);
    assert_eq!(store.images().expect("images").read, [image(2)]);
}

#[test]
fn a_reader_never_sees_half_a_commit() {
    let dir = tempfile::tempdir().expect("temporary directory");
    let store = Store::open(&dir.path().join("state.redb")).expect("open");
    let both = |generation| {
        let row = Workload { generation, ..workload(1) };
        [Change::PutWorkload(Box::new(row)), Change::PutTrace(Trace { generation, ..trace(1) })]
    };
    store.commit(&both(0)).expect("commit");
    let last = 200;
    std::thread::scope(|threads| {
        threads.spawn(|| (1..=last).for_each(|generation| store.commit(&both(generation)).expect("commit")));
        let mut seen = 0;
        while seen < last {
            let contents = store.load().expect("load");
            assert_eq!(contents.workloads[0].generation, contents.traces[0].generation);
            assert!(contents.workloads[0].generation >= seen, "time goes forward");
            seen = contents.workloads[0].generation;
        }
    });
}

#[test]
fn only_root_can_read_the_file_and_only_one_daemon_can_open_it() {
    let dir = tempfile::tempdir().expect("temporary directory");
    let path = dir.path().join("state.redb");
    let _store = Store::open(&path).expect("open");
    assert_eq!(std::fs::metadata(&path).expect("stat").permissions().mode() & 0o7777, 0o600);
    let names: Vec<_> =
        std::fs::read_dir(dir.path()).expect("list").map(|e| e.expect("entry").file_name()).collect();
    assert_eq!(names, ["state.redb"], "nothing but the file is left");
    assert!(matches!(Store::open(&path), Err(OpenError::InUse { .. })));
}

#[test]
fn a_row_that_cannot_be_read_is_reported_and_the_rest_is_there() {
    let dir = tempfile::tempdir().expect("temporary directory");
    let path = dir.path().join("state.redb");
    let both = [Change::PutWorkload(Box::new(workload(1))), Change::PutTrace(trace(1))];
    Store::open(&path).expect("open").commit(&both).expect("commit");
    let lost = workload(7).id;
    put_raw(&path, "workloads", lost.as_str(), b"{\"v\":2,\"row\":{}}");
    put_raw(&path, "meta", "node", b"garbage");

    let store = Store::open(&path).expect("open");
    let contents = store.load().expect("load");
    assert_eq!((contents.workloads, contents.traces), (vec![workload(1)], vec![trace(1)]));
    let row =
        |table, key: &str, problem: &str| Unreadable { table, key: key.into(), problem: problem.into() };
    assert_eq!(
        contents.unreadable,
        [
            row("workloads", lost.as_str(), "row version 2; this program knows up to 1"),
            row("meta", "node", "expected value at line 1 column 1"),
        ]
    );
    store.commit(&[Change::RemoveWorkload(lost)]).expect("it can be removed by its key");
    assert_eq!(store.load().expect("load").unreadable.len(), 1);
}

#[test]
fn a_file_that_is_not_a_store_is_refused_and_left_alone() {
    let dir = tempfile::tempdir().expect("temporary directory");
    let path = dir.path().join("state.redb");
    for bytes in [&b""[..], b"redb", &[0x5a; 100_000]] {
        publish(dir.path(), bytes);
        let error = Store::open(&path).expect_err("not a store");
        assert!(matches!(error, OpenError::Damaged { .. }), "{error}");
        assert!(error.to_string().contains("left as it is"), "{error}");
        assert_eq!(std::fs::read(&path).expect("read"), bytes);
    }
    std::fs::remove_file(&path).expect("remove");
    drop(redb::Database::create(&path).expect("somebody else's"));
    put_raw(&path, "theirs", "key", b"value");
    assert!(matches!(Store::open(&path), Err(OpenError::Damaged { .. })));
}

#[test]
fn a_rotten_bit_anywhere_never_brings_the_program_down() {
    let dir = tempfile::tempdir().expect("temporary directory");
    let path = dir.path().join("state.redb");
    {
        let store = Store::open(&path).expect("open");
        for n in 1..20 {
            store.commit(&[Change::PutWorkload(Box::new(workload(n)))]).expect("commit");
        }
    }
    let good = std::fs::read(&path).expect("read");
    // Every part of the header, then a step that is coprime with the page size, so that it hits all offsets.
    let places = (0..512).chain((512..good.len()).step_by(1021));
    let (mut refused, mut opened) = (0, 0);
    for place in places {
        let mut rotten = good.clone();
        rotten[place] ^= 1 << (place % 8);
        publish(dir.path(), &rotten);
        match Store::open(&path) {
            Err(OpenError::Damaged { .. }) => refused += 1,
            Err(error) => panic!("byte {place}: {error}"),
            Ok(store) => {
                // A byte that means nothing, or repaired from the commit before.
                let contents = store.load().expect("what opens can be read");
                assert!(contents.workloads.len() >= 18, "byte {place}: {}", contents.workloads.len());
                assert_eq!(contents.unreadable, []);
                opened += 1;
            }
        }
    }
    println!("rotten bits: {refused} refused, {opened} harmless or repaired");
    assert!(refused > 0 && opened > 0);
}

fn publish(dir: &Path, bytes: &[u8]) {
    edgelet_sys::durable::publish_volatile(dir, "state.redb", bytes, 0o600).expect("publish");
}

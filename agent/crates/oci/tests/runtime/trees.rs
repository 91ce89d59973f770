//! Images whose every path may be something else than it seems, made by chance: a container is created, entered
//! and deleted in each, and nothing of the host may change. `CONFORMANCE_TREES` of them; the number that an error
//! names makes the same one again, with `CONFORMANCE_FIRST_TREE`.

use crate::apart;
use crate::chance::Chance;
use crate::support::Bundle;
use nix::sys::stat::{Mode, SFlag, makedev, mknod};
use serde_json::{Value, json};
use std::fs;
use std::os::unix::fs::{MetadataExt, PermissionsExt, lchown, symlink};
use std::path::{Path, PathBuf};

#[test]
fn no_tree_leads_outside() {
    apart::run("trees::no_tree_leads_outside", || {
        let first = apart::how_many("CONFORMANCE_FIRST_TREE", 0);
        let count = apart::how_many("CONFORMANCE_TREES", 60);
        let mut started = 0;
        for number in first..first + count {
            started += u64::from(live_in(number));
        }
        println!("{started} of {count} trees had a container that started");
        // A generator that spoils every tree would show little of what comes after.
        assert!(started * 4 > count, "only {started} of {count} containers started");
    });
}

/// Creates, enters and deletes a container in the tree of this number. Whether it came as far as being entered.
fn live_in(number: u64) -> bool {
    let mut chance = Chance::of(number);
    let mut bundle = Bundle::args(&["/program", "sleep", "100"]);
    fs::rename(bundle.inside("bin/busybox"), bundle.inside("program")).expect("rename");
    let canary = Canary::new(&bundle);
    let rarely = *chance.pick(&[4, 12, 24, 48]);
    for path in chance.some(PATHS, rarely) {
        plant(&bundle.inside(""), path, &mut chance, &canary.directory);
    }
    configure(bundle.config(), &mut chance, rarely);
    if chance.one_in(4) {
        bundle.map_users(100_000);
        give_away(&bundle.inside(""));
    }
    let created = bundle.create();
    canary.assert_unchanged(number, "create");
    let started = created.code == 0 && bundle.verb("start").code == 0;
    if started {
        for _ in 0..2 {
            let user = *chance.pick(&["0:0", "1000:1000", "65534"]);
            let cwd = format!("/{}", chance.pick(PATHS));
            let mut words = vec!["exec", "--user", user, "--cwd", &cwd, &bundle.id, "/program", "sh", "-c"];
            words.push(SCRIBBLE);
            bundle.runtime(&words);
            canary.assert_unchanged(number, "exec");
        }
    }
    bundle.runtime(&["delete", "--force", &bundle.id]).good();
    canary.assert_unchanged(number, "delete");
    assert_eq!(
        fs::read_dir(bundle.state_root()).map_or(0, Iterator::count),
        0,
        "tree {number}: state is left"
    );
    started
}

/// What the runtime itself looks at, makes or mounts, and what is above it.
const PATHS: &[&str] = &[
    "bin",
    "data",
    "data/a",
    "data/a/b",
    "data/file",
    "dev",
    "dev/console",
    "dev/fd",
    "dev/full",
    "dev/mqueue",
    "dev/null",
    "dev/ptmx",
    "dev/pts",
    "dev/pts/0",
    "dev/pts/ptmx",
    "dev/random",
    "dev/shm",
    "dev/stdin",
    "dev/tty",
    "dev/zero",
    "etc",
    "etc/group",
    "etc/hostname",
    "etc/hosts",
    "etc/passwd",
    "etc/resolv.conf",
    "home",
    "proc",
    "proc/kcore",
    "proc/self",
    "proc/sys",
    "proc/sys/kernel",
    "proc/sysrq-trigger",
    "root",
    "run",
    "run/secrets",
    "sys",
    "sys/firmware",
    "sys/fs",
    "sys/fs/cgroup",
    "tmp",
    "tmp/device",
    "tmp/sub",
    "var",
    "var/lib",
    "work",
    "work/deeper",
];

/// Writes wherever a name of the image leads to.
const SCRIBBLE: &str = "for p in /* /dev/* /data/* /data/a/* /etc/* /run/* /tmp/* /var/* /work/*; do
    case $p in /proc|/proc/*|/sys|/sys/*|/program) continue;; esac
    [ -p \"$p\" ] || [ -c \"$p\" ] || echo scribble 2>&- > \"$p\" || echo scribble 2>&- > \"$p/new\"
    /program chmod 0777 \"$p\"; /program ln -s / \"$p/link\"
done 2>&-; exit 0";

/// Puts something at a path, unless a part of the way to it has become something else already.
fn plant(root: &Path, path: &str, chance: &mut Chance, canary: &Path) {
    let path = Path::new(path);
    let mut directory = root.to_owned();
    for part in path.parent().expect("relative").components() {
        directory.push(part);
        match fs::symlink_metadata(&directory) {
            Ok(found) if found.is_dir() => {}
            Ok(_) => return,
            Err(_) => fs::create_dir(&directory).expect("mkdir"),
        }
    }
    let place = root.join(path);
    match fs::symlink_metadata(&place) {
        Ok(found) if found.is_dir() => fs::remove_dir_all(&place).expect("remove"),
        Ok(_) => fs::remove_file(&place).expect("remove"),
        Err(_) => {}
    }
    let node =
        |kind, mode, device| mknod(&place, kind, Mode::from_bits_truncate(mode), device).expect("mknod");
    match chance.below(16) {
        0 => {}
        1 => fs::create_dir(&place).expect("mkdir"),
        2 => {
            fs::create_dir(&place).expect("mkdir");
            fs::set_permissions(&place, fs::Permissions::from_mode(0o000)).expect("chmod");
        }
        3 => fs::write(&place, "").expect("write"),
        4 => fs::write(&place, chance.pick(ACCOUNTS)).expect("write"),
        5 => node(SFlag::S_IFIFO, 0o666, 0),
        6 => node(SFlag::S_IFSOCK, 0o666, 0),
        // Null, zero, and a device that does not exist.
        7 => node(SFlag::S_IFCHR, 0o666, makedev(1, *chance.pick(&[3, 5, 7]))),
        8 => node(SFlag::S_IFBLK, 0o666, makedev(250, 250)),
        9 => {
            // Through another link, so that one look is not enough.
            symlink(target(chance, canary), root.join("hop")).unwrap_or_default();
            symlink("/hop", &place).expect("link");
        }
        _ => symlink(target(chance, canary), &place).expect("link"),
    }
}

/// Where a link leads: outside if it was followed by the host's rules, or round in circles.
fn target(chance: &mut Chance, canary: &Path) -> PathBuf {
    let canary = canary.display();
    let up = "../".repeat(24);
    let number = chance.below(24);
    let targets = [
        format!("{canary}"),
        format!("{canary}/file"),
        format!("{canary}/new"),
        format!("{canary}/null"),
        format!("{up}{canary}"),
        format!("{up}{canary}/file"),
        format!("{up}{canary}/new"),
        format!("//{canary}/"),
        format!("/proc/self/root{canary}"),
        format!("/proc/1/root{canary}/new"),
        format!("/proc/self/cwd/{up}{canary}"),
        format!("/proc/self/fd/{number}"),
        format!("/proc/self/fd/{number}/{up}{canary}"),
        "/proc/self/exe".to_owned(),
        "/proc/sys/kernel/hostname".to_owned(),
        "/proc/self/ns/mnt".to_owned(),
        "/proc/self/attr/exec".to_owned(),
        "/sys/fs/cgroup".to_owned(),
        "/dev/pts/0".to_owned(),
        "/dev/null".to_owned(),
        "/".to_owned(),
        "..".to_owned(),
        ".".to_owned(),
        "/data".to_owned(),
        "/data/a/b".to_owned(),
        "dev".to_owned(),
        "/hop".to_owned(),
        "/nowhere".to_owned(),
    ];
    chance.pick(&targets).into()
}

/// Makes everything in an image that of the root of its user namespace.
fn give_away(root: &Path) {
    for entry in fs::read_dir(root).expect("list") {
        let path = entry.expect("entry").path();
        lchown(&path, Some(100_000), Some(100_000)).expect("lchown");
        if fs::symlink_metadata(&path).expect("stat").is_dir() {
            give_away(&path);
        }
    }
}

/// Contents that the runtime may take for a list of accounts.
const ACCOUNTS: &[&str] = &[
    "root:x:0:0::/data/a/b:/bin/sh\n",
    "root:x:0:0::../../..:/bin/sh\nroot:x:4294967296:-1::/:\n",
    "::::::\n\n:\0:\u{1}\n",
    "no newline and no colon",
];

fn configure(config: &mut Value, chance: &mut Chance, rarely: usize) {
    let absolute = |paths: Vec<&str>| paths.into_iter().map(|path| format!("/{path}")).collect::<Vec<_>>();
    if chance.one_in(3) {
        config["process"]["cwd"] = format!("/{}", chance.pick(PATHS)).into();
    }
    if chance.one_in(3) {
        config["process"]["env"] = json!(["PATH=/bin"]);
    }
    let user = *chance.pick(&[0, 0, 1000]);
    config["process"]["user"] = json!({"uid": user, "gid": user});
    config["root"]["readonly"] = chance.one_in(4).into();
    config["linux"]["maskedPaths"] = absolute(chance.some(PATHS, rarely)).into();
    config["linux"]["readonlyPaths"] = absolute(chance.some(PATHS, rarely)).into();
    if chance.one_in(3) {
        let path = format!("/{}", chance.pick(PATHS));
        config["linux"]["devices"] = json!([{"path": path, "type": "c", "major": 1, "minor": 3}]);
    }
    let mounts = config["mounts"].as_array_mut().expect("mounts");
    // Sometimes the image's own directory is what the container has there.
    mounts.retain(|_| !chance.one_in(8));
    for path in chance.some(PATHS, 2 * rarely) {
        let destination = format!("/{path}");
        mounts.push(match chance.below(4) {
            0 => json!({"destination": destination, "type": "tmpfs", "source": "t", "options": ["size=64k"]}),
            1 => json!({"destination": destination, "type": "tmpfs", "source": "t", "options": ["size=64k", "tmpcopyup"]}),
            2 => json!({"destination": destination, "type": "bind", "source": "/etc/hostname", "options": ["bind", "ro"]}),
            _ => json!({"destination": destination, "type": "bind", "source": "/usr/share/misc", "options": ["rbind", "ro"]}),
        });
    }
}

/// Files of the host that no container has been given.
struct Canary {
    directory: PathBuf,
    before: Vec<String>,
}

/// What a container of whatever image is most likely to reach.
const HOST: &[&str] =
    &["/dev/null", "/dev/ptmx", "/dev/full", "/dev", "/etc/passwd", "/etc/hostname", "/etc", "/"];

impl Canary {
    fn new(bundle: &Bundle) -> Self {
        let directory = bundle.path().join("canary");
        fs::create_dir_all(directory.join("below")).expect("mkdir");
        fs::write(directory.join("file"), "sings").expect("write");
        fs::write(directory.join("below/file"), "sings").expect("write");
        mknod(&directory.join("null"), SFlag::S_IFCHR, Mode::from_bits_truncate(0o640), makedev(1, 3))
            .expect("mknod");
        // Root of a user namespace could write here, if it came here.
        fs::set_permissions(&directory, fs::Permissions::from_mode(0o777)).expect("chmod");
        fs::set_permissions(directory.join("file"), fs::Permissions::from_mode(0o666)).expect("chmod");
        Self { before: Self::look(&directory), directory }
    }

    #[track_caller]
    fn assert_unchanged(&self, number: u64, after: &str) {
        assert_eq!(Self::look(&self.directory), self.before, "tree {number} changed the host at {after}");
    }

    /// Everything about these files that a write, a change of mode or owner, a new name or a mount would change.
    fn look(directory: &Path) -> Vec<String> {
        let mut found = Vec::new();
        let own = ["", "file", "null", "below", "below/file"].map(|name| directory.join(name));
        for path in own.into_iter().chain(HOST.iter().map(PathBuf::from)) {
            let stat = fs::symlink_metadata(&path).expect("stat");
            // Others use the host's directories and devices too, and change their times.
            let time = if path.starts_with(directory) { (stat.ctime(), stat.ctime_nsec()) } else { (0, 0) };
            found.push(format!("{path:?} {:o} {} {} {time:?}", stat.mode(), stat.uid(), stat.gid()));
            if path.starts_with(directory) && stat.is_dir() {
                found.push(format!("{}", fs::read_dir(&path).expect("list").count()));
            }
        }
        found.push(fs::read_to_string(directory.join("file")).expect("read"));
        found.push(fs::read_to_string("/proc/sys/kernel/hostname").expect("read"));
        found.push(fs::read_to_string("/proc/self/mountinfo").expect("read"));
        found
    }
}

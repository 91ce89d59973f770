//! What GNU tar writes must be read as GNU tar means it, and what nobody should write must be refused.

use super::*;
use std::process::Command;

fn read_all(bytes: &[u8]) -> Result<Vec<(Member, Vec<u8>)>, TarError> {
    let mut reader = TarReader::new(bytes);
    let mut members = Vec::new();
    while let Some(member) = reader.next()? {
        let mut data = Vec::new();
        let mut buffer = [0; 1000];
        loop {
            match reader.read(&mut buffer)? {
                0 => break,
                count => data.extend_from_slice(&buffer[..count]),
            }
        }
        members.push((member, data));
    }
    Ok(members)
}

/// One header with a right checksum and its data.
fn raw(kind: u8, name: &str, data: &[u8]) -> Vec<u8> {
    let mut header = tar::Header::new_ustar();
    header.set_entry_type(tar::EntryType::new(kind));
    header.as_old_mut().name[..name.len()].copy_from_slice(name.as_bytes());
    header.set_size(data.len() as u64);
    header.set_mode(0o644);
    header.set_uid(0);
    header.set_gid(0);
    header.set_mtime(0);
    header.set_cksum();
    let mut bytes = header.as_bytes().to_vec();
    bytes.extend_from_slice(data);
    bytes.resize(bytes.len().next_multiple_of(512), 0);
    bytes
}

#[test]
fn every_dialect_of_gnu_tar_is_read() {
    let dir = tempfile::tempdir().expect("temporary directory");
    let long = "d".repeat(120);
    std::fs::create_dir_all(dir.path().join(&long)).expect("mkdir");
    let name = format!("{long}/{}", "f".repeat(150));
    let mut file = std::fs::File::create(dir.path().join(&name)).expect("create");
    std::io::Write::write_all(&mut file, b"content").expect("write");
    std::os::unix::fs::symlink("x".repeat(200), dir.path().join("link")).expect("link");
    for format in ["gnu", "pax"] {
        let tar = Command::new("tar")
            .args(["-c", "--format", format, "--mtime=@1234567890", "--sort=name", "-C"])
            .arg(dir.path())
            .args([&long, "link"])
            .output()
            .expect("tar runs");
        let members = read_all(&tar.stdout).expect(format);
        let [directory, file, link] = &members[..] else { panic!("{format}: {members:?}") };
        assert_eq!((directory.0.kind, &directory.0.path[..120]), (Kind::Directory, long.as_bytes()));
        assert_eq!(
            (file.0.kind, &file.0.path[..], &file.1[..]),
            (Kind::File, name.as_bytes(), &b"content"[..])
        );
        assert_eq!((link.0.kind, link.0.link.len(), link.0.mtime), (Kind::Symlink, 200, (1_234_567_890, 0)));
    }
}

#[test]
fn every_sparse_format_of_gnu_tar_is_read() {
    use std::os::unix::fs::FileExt;
    let dir = tempfile::tempdir().expect("temporary directory");
    let file = std::fs::File::create(dir.path().join("sparse")).expect("create");
    file.set_len(64 << 20).expect("size");
    for n in 0..40 {
        file.write_all_at(&[b'x'; 4096], n << 20).expect("write");
    }
    for args in [
        &["--format=gnu"][..],
        &["--format=pax", "--sparse-version=0.0"],
        &["--format=pax", "--sparse-version=0.1"],
        &["--format=pax", "--sparse-version=1.0"],
    ] {
        let mut command = Command::new("tar");
        command.args(["-c", "--sparse"]).args(args).arg("-C").arg(dir.path()).arg("sparse");
        let tar = command.output().expect("tar runs");
        let members = read_all(&tar.stdout).unwrap_or_else(|error| panic!("{args:?}: {error}"));
        let [(member, data)] = &members[..] else { panic!("{args:?}: {members:?}") };
        assert_eq!((&member.path[..], member.size), (&b"sparse"[..], 64 << 20), "{args:?}");
        let extents = member.sparse.as_ref().expect("a map");
        let with_data: Vec<_> = extents.iter().filter(|extent| extent.length > 0).collect();
        assert_eq!(with_data.len(), 40, "{args:?}");
        assert_eq!(*with_data[39], Extent { offset: 39 << 20, length: 4096 }, "{args:?}");
        assert!(data.len() == 40 * 4096 && data.iter().all(|byte| *byte == b'x'), "{args:?}");
    }
}

#[test]
fn damaged_archives_are_refused() {
    let good = raw(b'0', "file", b"data");
    assert_eq!(read_all(&good).expect("without an end mark").len(), 1);
    assert_eq!(read_all(&good[..600]).expect("without the rest of the last block").len(), 1);
    assert!(matches!(read_all(&good[..514]), Err(TarError::Truncated)));
    assert!(matches!(read_all(&good[..300]), Err(TarError::Truncated)));
    let mut flipped = good.clone();
    flipped[3] ^= 1;
    assert!(matches!(read_all(&flipped), Err(TarError::Malformed(_))));
    let hidden = [vec![0; 512], good.clone()].concat();
    assert!(matches!(read_all(&hidden), Err(TarError::Malformed(_))), "data after one zero block");
    let ended = [good.clone(), vec![0; 1024], vec![7; 512]].concat();
    assert_eq!(read_all(&ended).expect("after the end anything may follow").len(), 1);
    for kind in [b'M', b'V', b'D', b'N', b'Z'] {
        assert!(matches!(read_all(&raw(kind, "odd", b"")), Err(TarError::Unsupported(_))));
    }
    assert!(matches!(read_all(&raw(b'x', "pax", b"6 a=b\n")), Err(TarError::Truncated)));
}

#[test]
fn headers_in_memory_are_limited_however_they_are_cut() {
    let record = |bytes: usize| {
        let value = "v".repeat(bytes - 10 - b"SCHILY.xattr.user.a=\n".len());
        let text = format!(" SCHILY.xattr.user.a={value}\n");
        format!("{}{text}", text.len() + text.len().to_string().len()).into_bytes()
    };
    let limit = usize::try_from(limits::LAYER_HEADER_BYTES).expect("fits");
    let one = [raw(b'x', "pax", &record(limit + 1000)), raw(b'0', "file", b"")].concat();
    assert!(matches!(read_all(&one), Err(TarError::TooMuch { .. })));
    let many: Vec<u8> = (0..20).flat_map(|_| raw(b'x', "pax", &record(limit / 16))).collect();
    assert!(matches!(read_all(&many), Err(TarError::TooMuch { .. })));
    let names: Vec<u8> = (0..3000).flat_map(|_| raw(b'L', "long", b"name")).collect();
    assert!(matches!(read_all(&names), Err(TarError::TooMuch { .. })));
    let long = raw(b'L', "long", &vec![b'x'; limits::LAYER_PATH_BYTES + 1]);
    let long = [long, raw(b'0', "file", b"")].concat();
    assert!(matches!(read_all(&long), Err(TarError::TooMuch { what: "a path", .. })));
}

#[test]
fn owners_that_the_kernel_would_not_set_are_refused() {
    for uid in ["4294967295", "4294967296", "18446744073709551616"] {
        let text = format!(" uid={uid}\n");
        let record = format!("{}{text}", text.len() + 2);
        let archive = [raw(b'x', "pax", record.as_bytes()), raw(b'0', "file", b"")].concat();
        assert!(matches!(read_all(&archive), Err(TarError::Malformed(_))), "{uid}");
    }
}

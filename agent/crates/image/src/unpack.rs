//! From the members of a layer to the layer's directory, as overlayfs wants it.
//!
//! Everything in the archive is hostile. Each name is resolved below the layer's own directory
//! (`RootDir`), so neither `..`, nor an absolute name, nor a symbolic link that an earlier member made
//! leads anywhere else.
//!
//! Whiteouts (OCI image-spec 1.1, layer.md, "Whiteouts") become what overlayfs has for them: a character
//! device 0:0 for a removed name, `trusted.overlay.opaque` for a directory that hides what is below it.
//! An archive cannot set overlayfs' own attributes itself.

mod entry;

use crate::tar::{Kind, Member, TarError, TarReader};
use edgelet_sys::place::Place;
use edgelet_sys::root::RootDir;
use edgelet_types::limits;
use entry::Existing;
use nix::fcntl::OFlag;
use std::ffi::{OsStr, OsString};
use std::fs::File;
use std::io::{self, ErrorKind, Read};
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::path::{Component, Path, PathBuf};

/// Asked from time to time while a layer is written whether it may go on.
pub(crate) trait Watch<R> {
    /// `bytes` of file content have been written since the last call.
    fn wrote(&mut self, bytes: u64) -> Result<(), UnpackError>;

    /// All that was read of the archive is on disk, or in `halt`.
    fn rests(&mut self, _archive: &R, _halt: &Halt<'_>) {}

    /// A member is about to take the place of an earlier one. Where that has been done, nobody can go on from before.
    fn replaces(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// Where in an archive somebody is who unpacks it, and what he knows that is not on disk.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Halt<'a> {
    /// Members so far, the current one included.
    pub(crate) entries: u64,
    /// See [`TarReader::headers`].
    pub(crate) headers: [&'a [u8]; 2],
    /// Bytes of the current member's file that are on disk; `None` between two members.
    pub(crate) written: Option<u64>,
    /// Directories and their times.
    pub(crate) directories: &'a [(PathBuf, (i64, u32))],
}

/// The same, to be gone on from.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub(crate) struct Resumed {
    pub(crate) entries: u64,
    pub(crate) headers: Vec<u8>,
    pub(crate) written: Option<u64>,
    pub(crate) directories: Vec<(PathBuf, (i64, u32))>,
}

/// Why a layer could not be unpacked.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum UnpackError {
    /// The bytes are no archive, or the stream failed.
    #[error(transparent)]
    Archive(#[from] TarError),
    /// A name with `..`, or a link to one.
    #[error("entry {path:?} leaves the root")]
    Escapes {
        /// As it stands in the archive.
        path: PathBuf,
    },
    /// A member that makes no sense where it is.
    #[error("entry {path:?}: {cause}")]
    Invalid {
        /// As it stands in the archive.
        path: PathBuf,
        /// What is wrong.
        cause: String,
    },
    /// More than the named limit.
    #[error("{what} above the limit of {limit}")]
    TooMuch {
        /// What there is too much of.
        what: &'static str,
        /// How much is accepted.
        limit: u64,
    },
    /// The data file system has come to its reserve.
    #[error("{free} B are free, and {reserve} B are kept in reserve")]
    NoSpace {
        /// Bytes that are free.
        free: u64,
        /// Bytes that are not for images.
        reserve: u64,
    },
    /// The file system refused.
    #[error("write {path:?}")]
    Write {
        /// As it stands in the archive.
        path: PathBuf,
        /// The cause.
        #[source]
        source: io::Error,
    },
}

/// Unpacks an archive into `root`, and says how many bytes its files have. Blocks; nothing is flushed. After an error
/// `root` holds a part of the layer.
///
/// It begins at `place`: with an empty directory at the default one, and otherwise with one that has what was there at
/// that place, and maybe some of what follows, files of `file_bytes` in all. What follows comes again, and replaces it.
pub(crate) fn unpack<R: Read>(
    place: Resumed,
    file_bytes: u64,
    source: R,
    root: &RootDir,
    watch: &mut dyn Watch<R>,
) -> Result<u64, UnpackError> {
    let mut archive = TarReader::after(place.headers, source);
    let buffer = vec![0; BUFFER].into_boxed_slice();
    let names = place.directories.iter().map(|(path, _)| directory_bytes(path)).sum();
    let mut unpacker = Unpacker {
        root,
        watch,
        buffer,
        bytes: file_bytes,
        entries: place.entries,
        directories: place.directories,
        directory_bytes: names,
        among_leftovers: place.entries > 0,
    };
    if let Some(written) = place.written {
        let member = archive.next()?.ok_or(TarError::Truncated)?;
        archive.pass_over(written)?;
        unpacker.go_on(&member, written, &mut archive)?;
    }
    loop {
        archive.end_member()?;
        unpacker.rest(&archive);
        let Some(member) = archive.next()? else { return unpacker.finish() };
        unpacker.entries += 1;
        at_most("entries", unpacker.entries, limits::LAYER_ENTRIES)?;
        unpacker.add(&member, &mut archive)?;
    }
}

/// Large enough that a write is mostly data and small enough to stay in the processor's cache.
const BUFFER: usize = 128 << 10;

struct Unpacker<'a, R> {
    root: &'a RootDir,
    watch: &'a mut dyn Watch<R>,
    /// For file content.
    buffer: Box<[u8]>,
    /// Of regular files that stand.
    bytes: u64,
    entries: u64,
    /// Directories and their times, which every entry inside changes again.
    directories: Vec<(PathBuf, (i64, u32))>,
    directory_bytes: usize,
    /// What stands at the place of a member may have been made from just that, by who was here before. Whoever that was
    /// came from the same place, and no further than to the first member that is not there.
    among_leftovers: bool,
}

/// What the file name of a member asks for.
enum Meaning {
    /// An entry by that name.
    Entry,
    /// The name below is removed.
    Whiteout(OsString),
    /// The directory hides everything below it.
    Opaque,
    /// Left by a file system that some builders used (AUFS), alone or in a directory of such a name; it
    /// means nothing elsewhere.
    Bookkeeping,
}

impl<R: Read> Unpacker<'_, R> {
    /// Between two members.
    fn rest(&mut self, archive: &TarReader<R>) {
        let Self { entries, directories, .. } = self;
        let halt = Halt { entries: *entries, headers: archive.headers(), written: None, directories };
        self.watch.rests(archive.source(), &halt);
    }

    /// The rest of a member of which a part is on disk.
    fn go_on(
        &mut self,
        member: &Member,
        written: u64,
        archive: &mut TarReader<R>,
    ) -> Result<(), UnpackError> {
        let path = clean(&member.path)?;
        let place = self.place(&path).map_err(write(member))?;
        match Existing::at(&place).map_err(write(member))? {
            Existing::File { bytes, .. } if bytes >= written && member.sparse.is_none() => {
                self.bytes = self.bytes.saturating_sub(bytes);
            }
            _ => return Err(invalid(member, "half of it is not there any more")),
        }
        let file = self.root.open_at(&path, OFlag::O_WRONLY | OFlag::O_NOFOLLOW, 0).map_err(write(member))?;
        let file = File::from(file);
        file.set_len(written).map_err(write(member))?;
        self.content(&file, member, written, archive)?;
        entry::set_attributes(&place, member)
    }

    /// The content of a regular file from that byte on.
    fn content(
        &mut self,
        file: &File,
        member: &Member,
        from: u64,
        archive: &mut TarReader<R>,
    ) -> Result<(), UnpackError> {
        let Self { watch, buffer, entries, directories, .. } = self;
        let wrote = &mut |archive: &TarReader<R>, count: u64, written: Option<u64>| {
            watch.wrote(count)?;
            if written.is_some() {
                let headers = archive.headers();
                watch.rests(archive.source(), &Halt { entries: *entries, headers, written, directories });
            }
            Ok(())
        };
        self.bytes += entry::content(file, member, from, archive, wrote, buffer)?;
        Ok(())
    }

    fn add(&mut self, member: &Member, archive: &mut TarReader<R>) -> Result<(), UnpackError> {
        let path = clean(&member.path)?;
        let Some(name) = path.file_name() else {
            return self.root_directory(member);
        };
        let parent = path.parent().unwrap_or(Path::new(""));
        if parent.components().any(|part| part.as_os_str().as_bytes().starts_with(b".wh..wh.")) {
            return Ok(());
        }
        match meaning(name).ok_or_else(|| invalid(member, "a whiteout of no name"))? {
            Meaning::Bookkeeping => Ok(()),
            Meaning::Opaque => {
                self.make_parents(&path).and_then(|()| self.set_opaque(parent)).map_err(write(member))
            }
            Meaning::Whiteout(hidden) => {
                let place = self.place(&path.with_file_name(hidden)).map_err(write(member))?;
                whiteout(&place).map_err(write(member))
            }
            Meaning::Entry => self.entry(&path, member, archive),
        }
    }

    /// The archive's own root, `./` or `/`.
    fn root_directory(&mut self, member: &Member) -> Result<(), UnpackError> {
        if member.kind != Kind::Directory {
            return Err(invalid(member, "the root must be a directory"));
        }
        let root = self.root.itself().map_err(write(member))?;
        entry::set_attributes(&root, member)?;
        self.remember_time(PathBuf::new(), member)
    }

    fn entry(&mut self, path: &Path, member: &Member, archive: &mut TarReader<R>) -> Result<(), UnpackError> {
        let place = self.place(path).map_err(write(member))?;
        let existing = Existing::at(&place).map_err(write(member))?;
        if member.kind == Kind::HardLink {
            return self.hard_link(&place, existing, member);
        }
        let keep = existing == Existing::Directory && member.kind == Kind::Directory;
        if !keep {
            self.clear(&place, &existing).map_err(write(member))?;
        }
        match member.kind {
            Kind::File => {
                let file = place.create(0o600).map_err(write(member))?;
                self.content(&file, member, 0, archive)?;
            }
            Kind::Directory if keep => {}
            _ => entry::node(&place, member)?,
        }
        entry::set_attributes(&place, member)?;
        if member.kind == Kind::Directory {
            if existing == Existing::Whiteout {
                // Removed below and made again here: nothing of the old one may shine through.
                set_opaque_at(&place).map_err(write(member))?;
            }
            self.remember_time(path.to_owned(), member)?;
        }
        Ok(())
    }

    /// A second name of an earlier member. Only what this layer holds can be linked to: names of lower
    /// layers do not exist here, and nothing outside can be named at all.
    fn hard_link(&mut self, place: &Place, existing: Existing, member: &Member) -> Result<(), UnpackError> {
        let target = clean(&member.link)?;
        let original = self.root.place(&target).map_err(write(member))?;
        match Existing::at(&original).map_err(write(member))? {
            Existing::Nothing => return Err(invalid(member, "a hard link to what is not in this layer")),
            Existing::Directory => return Err(invalid(member, "a hard link to a directory")),
            found if found.is_same_file(&existing) => return Ok(()),
            _ => {}
        }
        self.clear(place, &existing).map_err(write(member))?;
        place.link_from(&original).map_err(write(member))
    }

    /// Later members replace earlier ones.
    fn clear(&mut self, place: &Place, existing: &Existing) -> io::Result<()> {
        match existing {
            Existing::Nothing => self.among_leftovers = false,
            _ if self.among_leftovers => {}
            _ => self.watch.replaces()?,
        }
        match existing {
            Existing::Nothing => Ok(()),
            Existing::File { bytes, links: 1, .. } => {
                self.bytes = self.bytes.saturating_sub(*bytes);
                place.unlink()
            }
            Existing::Directory => place.remove_all(),
            _ => place.unlink(),
        }
    }

    /// The place of an entry, with its directory made if need be.
    fn place(&mut self, path: &Path) -> io::Result<Place> {
        match self.root.place(path) {
            Err(error) if matches!(error.kind(), ErrorKind::NotFound | ErrorKind::NotADirectory) => {
                self.make_parents(path)?;
                self.root.place(path)
            }
            found => found,
        }
    }

    /// Makes what is missing above `path`, for archives that do not list their directories.
    fn make_parents(&mut self, path: &Path) -> io::Result<()> {
        let parent = path.parent().unwrap_or(Path::new(""));
        let mut made = PathBuf::new();
        for component in parent.components() {
            made.push(component);
            let place = self.root.place(&made)?;
            match Existing::at(&place)? {
                Existing::Nothing => make_directory(&place)?,
                Existing::Whiteout => {
                    place.unlink()?;
                    make_directory(&place)?;
                    set_opaque_at(&place)?;
                }
                // A directory, or a link that may lead to one; the next step or the caller finds out.
                _ => {}
            }
        }
        Ok(())
    }

    fn set_opaque(&self, directory: &Path) -> io::Result<()> {
        let directory = self.root.open_dir(directory)?;
        edgelet_sys::xattr::set(std::os::fd::AsFd::as_fd(&directory), OPAQUE, b"y")
    }

    fn remember_time(&mut self, path: PathBuf, member: &Member) -> Result<(), UnpackError> {
        self.directory_bytes += directory_bytes(&path);
        let limit = limits::LAYER_DIRECTORY_BYTES as u64;
        at_most("bytes of directory names", self.directory_bytes as u64, limit)?;
        self.directories.push((path, member.mtime));
        Ok(())
    }

    /// Sets the times of directories, now that nothing changes them any more.
    fn finish(self) -> Result<u64, UnpackError> {
        for (path, (seconds, nanos)) in self.directories.iter().rev() {
            let set = || {
                let place = match path.as_os_str().is_empty() {
                    true => self.root.itself()?,
                    false => self.root.place(path)?,
                };
                match Existing::at(&place)? {
                    Existing::Directory => place.set_mtime(*seconds, *nanos),
                    // Replaced by a later member.
                    _ => Ok(()),
                }
            };
            match set() {
                Err(error) if error.kind() != ErrorKind::NotFound => {
                    return Err(UnpackError::Write { path: path.clone(), source: error });
                }
                _ => {}
            }
        }
        Ok(self.bytes)
    }
}

/// What a directory that is remembered takes of memory.
fn directory_bytes(path: &Path) -> usize {
    path.as_os_str().len() + size_of::<(PathBuf, (i64, u32))>()
}

const OPAQUE: &std::ffi::CStr = c"trusted.overlay.opaque";

/// The relative path that a member's name stands for: no leading slash, no `.`, and no `..` at all. A
/// `..` that stays inside would be harmless, but no builder writes one.
fn clean(name: &[u8]) -> Result<PathBuf, UnpackError> {
    let path = Path::new(OsStr::from_bytes(name));
    let mut clean = PathBuf::new();
    let mut depth = 0;
    for component in path.components() {
        match component {
            Component::Normal(part) => {
                depth += 1;
                clean.push(part);
            }
            Component::CurDir | Component::RootDir => {}
            Component::ParentDir | Component::Prefix(_) => {
                return Err(UnpackError::Escapes { path: path.to_owned() });
            }
        }
    }
    at_most("directories in a path", depth, limits::LAYER_DEPTH as u64)?;
    Ok(clean)
}

/// `None` for a whiteout that names nothing, or the directory itself, or its parent.
fn meaning(name: &OsStr) -> Option<Meaning> {
    let Some(hidden) = name.as_bytes().strip_prefix(b".wh.") else { return Some(Meaning::Entry) };
    match hidden {
        b"" | b"." | b".." => None,
        b".wh..opq" => Some(Meaning::Opaque),
        _ if hidden.starts_with(b".wh.") => Some(Meaning::Bookkeeping),
        _ => Some(Meaning::Whiteout(OsString::from_vec(hidden.to_vec()))),
    }
}

/// Hides a name of the layers below. What this very layer put there stays visible, because whiteouts do
/// not reach into their own layer (image-spec, layer.md, "Whiteouts"); of a directory only that stays.
fn whiteout(place: &Place) -> io::Result<()> {
    match Existing::at(place)? {
        Existing::Nothing => place.mknod(edgelet_sys::place::Node::Char(0, 0), 0),
        Existing::Directory => set_opaque_at(place),
        _ => Ok(()),
    }
}

fn set_opaque_at(place: &Place) -> io::Result<()> {
    place.set_xattr(OPAQUE, b"y")
}

/// The mode that every engine gives to directories that an archive does not list.
fn make_directory(place: &Place) -> io::Result<()> {
    place.mkdir(0o755)?;
    place.set_mode(0o755)
}

fn at_most(what: &'static str, count: u64, limit: u64) -> Result<(), UnpackError> {
    match count <= limit {
        true => Ok(()),
        false => Err(UnpackError::TooMuch { what, limit }),
    }
}

fn shown(member: &Member) -> PathBuf {
    PathBuf::from(OsStr::from_bytes(&member.path))
}

fn invalid(member: &Member, cause: &str) -> UnpackError {
    UnpackError::Invalid { path: shown(member), cause: cause.to_owned() }
}

fn write(member: &Member) -> impl Fn(io::Error) -> UnpackError {
    |source| UnpackError::Write { path: shown(member), source }
}

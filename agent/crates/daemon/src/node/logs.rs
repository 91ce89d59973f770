//! Reading what shims write: the files of one workload as one stream, in small bites.

use edgelet_api::node::{LogBatch, LogCursor, LogEnd, LogFrom, LogLine, LogStream};
use edgelet_types::UnixMillis;
use std::collections::VecDeque;
use std::fs::{self, File};
use std::io::{self, BufRead, BufReader, Seek, SeekFrom};
use std::os::unix::fs::{FileExt, MetadataExt};
use std::path::Path;

/// The most lines that can be asked for from the end.
const TAIL_LINES: u64 = 100_000;

/// Reads the next lines. Whether more may come is for the caller to judge: the answer says `More` or
/// `Quiet`.
pub fn read(dir: &Path, from: &LogFrom) -> io::Result<LogBatch> {
    let files = files(dir)?;
    let start = match from {
        LogFrom::Start => first(&files),
        LogFrom::Tail(lines) => tail(&files, *lines)?,
        LogFrom::After(cursor) => *cursor,
    };
    let mut batch = Batch { lines: Vec::new(), begun: None, bytes: 0, next: start };
    let at = files.iter().position(|file| file.identity == start.file);
    // A file that is gone was rotated away: reading goes on with the oldest that is kept.
    let (rest, mut offset) = match at {
        Some(at) => (&files[at..], start.offset),
        None => (files.as_slice(), 0),
    };
    for file in rest {
        if !batch.take(file, offset)? {
            return Ok(batch.end(LogEnd::More));
        }
        offset = 0;
    }
    Ok(batch.end(LogEnd::Quiet))
}

/// An open log file with something in it. Rotation changes its name and file systems use inodes again, so
/// what tells it from others is its inode together with its first entry, which has a time in nanoseconds.
struct LogFile {
    identity: u64,
    file: File,
}

impl LogFile {
    /// How much of the first entry is looked at: its time and the beginning of its text.
    const HEAD: usize = 64;

    /// `None` for a file without a whole entry: there is nothing in it to read or to go on from.
    fn new(file: File) -> io::Result<Option<Self>> {
        let mut head = [0; Self::HEAD];
        let read = file.read_at(&mut head, 0)?;
        let Some(entry) = head[..read].split_inclusive(|byte| *byte == b'\n').next() else { return Ok(None) };
        if read < Self::HEAD && !entry.ends_with(b"\n") {
            return Ok(None);
        }
        // FNV-1a: short, and nobody chooses the times.
        let inode = file.metadata()?.ino().to_le_bytes();
        let step = |hash: u64, byte: &u8| (hash ^ u64::from(*byte)).wrapping_mul(0x0100_0000_01b3);
        let identity = inode.iter().chain(entry).fold(0xcbf2_9ce4_8422_2325, step);
        Ok(Some(Self { identity, file }))
    }
}

/// Every file of the log, oldest first. Opened at once, so that a rotation meanwhile takes nothing away.
fn files(dir: &Path) -> io::Result<Vec<LogFile>> {
    let current = edgelet_shim::CURRENT_LOG;
    let entries = match fs::read_dir(dir) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
        entries => entries?,
    };
    let mut found = Vec::new();
    for entry in entries {
        let entry = entry?;
        let name = entry.file_name();
        let Some(age) = name.to_str().and_then(|name| name.strip_prefix(current)) else { continue };
        let age = match age.strip_prefix('.') {
            None if age.is_empty() => 0,
            Some(number) => match number.parse::<u32>() {
                Ok(number) => number,
                Err(_) => continue,
            },
            None => continue,
        };
        match File::open(entry.path()) {
            Ok(file) => found.extend(LogFile::new(file)?.map(|file| (age, file))),
            Err(error) if error.kind() == io::ErrorKind::NotFound => {}
            Err(error) => return Err(error),
        }
    }
    found.sort_by_key(|(age, _)| std::cmp::Reverse(*age));
    // A file that was rotated while the names were read is there twice.
    let mut files: Vec<LogFile> = found.into_iter().map(|(_, file)| file).collect();
    files.dedup_by_key(|file| file.identity);
    Ok(files)
}

fn first(files: &[LogFile]) -> LogCursor {
    LogCursor { file: files.first().map_or(0, |file| file.identity), offset: 0 }
}

/// Where the last `lines` lines start.
fn tail(files: &[LogFile], lines: u64) -> io::Result<LogCursor> {
    let mut wanted = usize::try_from(lines.min(TAIL_LINES)).unwrap_or(usize::MAX);
    let Some(last) = files.last() else { return Ok(LogCursor::default()) };
    if wanted == 0 {
        return Ok(LogCursor { file: last.identity, offset: last.file.metadata()?.len() });
    }
    for file in files.iter().rev() {
        let starts = last_line_starts(&file.file, wanted)?;
        if starts.len() == wanted {
            return Ok(LogCursor { file: file.identity, offset: starts[0] });
        }
        wanted -= starts.len();
    }
    Ok(first(files))
}

/// Where the last lines of a file start, at most `wanted` of them. Pieces of a split line are one line,
/// except that a line which a rotation has cut starts again with its file.
fn last_line_starts(file: &File, wanted: usize) -> io::Result<VecDeque<u64>> {
    let mut reader = BufReader::new(file);
    reader.seek(SeekFrom::Start(0))?;
    let (mut starts, mut offset, mut line) = (VecDeque::new(), 0, Vec::new());
    let mut begun = None;
    while read_entry(&mut reader, &mut line)? {
        if let Some(entry) = parse(&line) {
            if begun != Some(entry.stream) {
                if starts.len() == wanted {
                    starts.pop_front();
                }
                starts.push_back(offset);
            }
            begun = entry.partial.then_some(entry.stream);
        }
        offset += line.len() as u64;
    }
    Ok(starts)
}

struct Batch {
    lines: Vec<LogLine>,
    /// The pieces of a line whose end has not been read. The cursor stays before them.
    begun: Option<LogLine>,
    bytes: usize,
    next: LogCursor,
}

impl Batch {
    /// Takes lines of one file from `offset` on; says whether its end was reached.
    fn take(&mut self, file: &LogFile, offset: u64) -> io::Result<bool> {
        let mut reader = BufReader::new(&file.file);
        reader.seek(SeekFrom::Start(offset))?;
        let cursor = |offset| LogCursor { file: file.identity, offset };
        if self.begun.is_none() {
            self.next = cursor(offset);
        }
        let (mut read_to, mut line) = (offset, Vec::new());
        while read_entry(&mut reader, &mut line)? {
            let entry_starts = read_to;
            read_to += line.len() as u64;
            // What is not an entry is skipped: nobody but the shim writes here.
            let Some(entry) = parse(&line) else { continue };
            self.bytes += entry.text.len();
            let whole = match self.begun.take() {
                Some(mut begun) if begun.stream == entry.stream => {
                    begun.text.push_str(&entry.text);
                    begun
                }
                begun => {
                    // The other stream came in between, and there what was begun ends.
                    if let Some(begun) = begun {
                        self.lines.push(begun);
                        self.next = cursor(entry_starts);
                    }
                    LogLine { at: entry.at, stream: entry.stream, text: entry.text }
                }
            };
            if entry.partial && self.bytes < LogBatch::BYTES {
                self.begun = Some(whole);
                continue;
            }
            self.lines.push(whole);
            self.next = cursor(read_to);
            if self.lines.len() >= LogBatch::LINES || self.bytes >= LogBatch::BYTES {
                return Ok(false);
            }
        }
        Ok(true)
    }

    fn end(self, end: LogEnd) -> LogBatch {
        LogBatch { lines: self.lines, next: self.next, end }
    }
}

/// Reads one entry with its newline; `false` at the end, and before an entry that is still being written.
fn read_entry(reader: &mut impl BufRead, line: &mut Vec<u8>) -> io::Result<bool> {
    line.clear();
    Ok(reader.read_until(b'\n', line)? > 0 && line.ends_with(b"\n"))
}

struct Entry {
    at: UnixMillis,
    stream: LogStream,
    partial: bool,
    text: String,
}

fn parse(line: &[u8]) -> Option<Entry> {
    let line = String::from_utf8_lossy(line.strip_suffix(b"\n")?);
    let mut fields = line.splitn(4, ' ');
    let at = UnixMillis::parse(fields.next()?)?;
    let stream = match fields.next()? {
        "stdout" => LogStream::Stdout,
        "stderr" => LogStream::Stderr,
        _ => return None,
    };
    let partial = match fields.next()? {
        "P" => true,
        "F" => false,
        _ => return None,
    };
    Some(Entry { at, stream, partial, text: fields.next()?.to_owned() })
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::Write;

    const TIME: &str = "2026-01-01T00:00:00.000000001Z";

    fn log(dir: &Path, name: &str, entries: &[&str]) {
        let mut file = File::options().append(true).create(true).open(dir.join(name)).unwrap();
        for entry in entries {
            writeln!(file, "{TIME} {entry}").unwrap();
        }
    }

    fn texts(batch: &LogBatch) -> Vec<&str> {
        batch.lines.iter().map(|line| line.text.as_str()).collect()
    }

    #[test]
    fn the_files_are_one_stream_and_reading_goes_on_where_it_ended() {
        let dir = tempfile::tempdir().unwrap();
        log(dir.path(), "0.log.1", &["stdout F one"]);
        log(dir.path(), "0.log", &["stderr F two", "stdout F "]);
        let batch = read(dir.path(), &LogFrom::Start).unwrap();
        assert_eq!((texts(&batch), batch.end), (vec!["one", "two", ""], LogEnd::Quiet));
        assert_eq!(batch.lines[1].stream, LogStream::Stderr);
        log(dir.path(), "0.log", &["stdout F four"]);
        let batch = read(dir.path(), &LogFrom::After(batch.next)).unwrap();
        assert_eq!(texts(&batch), ["four"]);
    }

    #[test]
    fn a_rotation_between_two_bites_loses_nothing() {
        let dir = tempfile::tempdir().unwrap();
        log(dir.path(), "0.log", &["stdout F one"]);
        let batch = read(dir.path(), &LogFrom::Start).unwrap();
        log(dir.path(), "0.log", &["stdout F two"]);
        fs::rename(dir.path().join("0.log"), dir.path().join("0.log.1")).unwrap();
        log(dir.path(), "0.log", &["stdout F three"]);
        let batch = read(dir.path(), &LogFrom::After(batch.next)).unwrap();
        assert_eq!(texts(&batch), ["two", "three"]);
        fs::remove_file(dir.path().join("0.log.1")).unwrap();
        let gone = LogCursor { file: u64::MAX, offset: 77 };
        assert_eq!(texts(&read(dir.path(), &LogFrom::After(gone)).unwrap()), ["three"]);
    }

    #[test]
    fn an_inode_that_is_used_again_is_not_the_file_that_was_read() {
        let dir = tempfile::tempdir().unwrap();
        log(dir.path(), "0.log", &["stdout F one", "stdout F two"]);
        let batch = read(dir.path(), &LogFrom::Start).unwrap();
        // What two rotations behind a reader's back come to: the same inode, other entries, and fewer.
        let file = File::options().write(true).truncate(true).open(dir.path().join("0.log")).unwrap();
        writeln!(&file, "2026-01-01T00:00:00.000000002Z stdout F three").unwrap();
        assert_eq!(texts(&read(dir.path(), &LogFrom::After(batch.next)).unwrap()), ["three"]);
    }

    #[test]
    fn the_tail_counts_lines_across_files_and_pieces_as_one() {
        let dir = tempfile::tempdir().unwrap();
        log(dir.path(), "0.log.1", &["stdout F one", "stdout F two"]);
        log(dir.path(), "0.log", &["stdout P thr", "stdout F ee", "stdout F four"]);
        let tail = |lines| read(dir.path(), &LogFrom::Tail(lines)).unwrap();
        assert_eq!(texts(&tail(0)), Vec::<&str>::new());
        assert_eq!(texts(&tail(1)), ["four"]);
        assert_eq!(texts(&tail(2)), ["three", "four"]);
        assert_eq!(texts(&tail(3)), ["two", "three", "four"]);
        assert_eq!(texts(&tail(99)), ["one", "two", "three", "four"]);
    }

    #[test]
    fn an_entry_that_is_still_being_written_waits() {
        let dir = tempfile::tempdir().unwrap();
        log(dir.path(), "0.log", &["stdout F one", "stdout P tw"]);
        let mut file = File::options().append(true).open(dir.path().join("0.log")).unwrap();
        write!(file, "{TIME} stdout F o").unwrap();
        let batch = read(dir.path(), &LogFrom::Start).unwrap();
        assert_eq!(texts(&batch), ["one"]);
        writeln!(file).unwrap();
        assert_eq!(
            texts(&read(dir.path(), &LogFrom::After(batch.next)).unwrap()),
            ["two"[..2].to_owned() + "o"]
        );
    }

    #[test]
    fn a_rotation_within_a_line_loses_none_of_its_pieces() {
        let dir = tempfile::tempdir().unwrap();
        log(dir.path(), "0.log.1", &["stdout F one", "stdout P tw"]);
        log(dir.path(), "0.log", &["stdout P oo"]);
        let batch = read(dir.path(), &LogFrom::Start).unwrap();
        assert_eq!(texts(&batch), ["one"]);
        log(dir.path(), "0.log", &["stdout F o", "stdout F three"]);
        let batch = read(dir.path(), &LogFrom::After(batch.next)).unwrap();
        assert_eq!(texts(&batch), ["twooo", "three"]);
    }

    #[test]
    fn a_line_of_one_stream_is_never_glued_to_one_of_the_other() {
        let dir = tempfile::tempdir().unwrap();
        log(dir.path(), "0.log", &["stdout P on", "stderr P tw", "stdout F e"]);
        let batch = read(dir.path(), &LogFrom::Start).unwrap();
        let lines: Vec<_> = batch.lines.iter().map(|line| (line.stream, line.text.as_str())).collect();
        assert_eq!(lines, [(LogStream::Stdout, "on"), (LogStream::Stderr, "tw"), (LogStream::Stdout, "e")]);
        let tail = |lines| read(dir.path(), &LogFrom::Tail(lines)).unwrap();
        assert_eq!(texts(&tail(2)), ["tw", "e"]);
        let rest = read(dir.path(), &LogFrom::After(batch.next)).unwrap();
        assert_eq!(texts(&rest), Vec::<&str>::new());
    }

    #[test]
    fn what_is_no_entry_is_not_counted_as_a_line() {
        let dir = tempfile::tempdir().unwrap();
        log(dir.path(), "0.log", &["stdout F one", "nonsense"]);
        assert_eq!(texts(&read(dir.path(), &LogFrom::Tail(1)).unwrap()), ["one"]);
    }

    #[test]
    fn no_log_is_an_empty_one_and_bites_are_bounded() {
        let dir = tempfile::tempdir().unwrap();
        assert_eq!(texts(&read(&dir.path().join("none"), &LogFrom::Tail(5)).unwrap()), Vec::<&str>::new());
        log(dir.path(), "0.log", &vec!["stdout F x"; LogBatch::LINES + 1]);
        let batch = read(dir.path(), &LogFrom::Start).unwrap();
        assert_eq!((batch.lines.len(), batch.end), (LogBatch::LINES, LogEnd::More));
        let rest = read(dir.path(), &LogFrom::After(batch.next)).unwrap();
        assert_eq!((rest.lines.len(), rest.end), (1, LogEnd::Quiet));
    }
}

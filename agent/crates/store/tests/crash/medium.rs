//! A storage medium that loses power, forgets, reorders, tears, and fails.

use redb::StorageBackend;
use std::io;
use std::sync::{Arc, Mutex, MutexGuard};

/// What a disk promises to write in one piece.
const SECTOR: usize = 512;

/// A shared handle; the clone that stays outside of the database looks at what is left.
#[derive(Debug, Clone, Default)]
pub struct Medium(Arc<Mutex<State>>);

#[derive(Debug, Default)]
struct State {
    /// What a program sees.
    live: Vec<u8>,
    /// What the last sync has made safe.
    safe: Vec<u8>,
    /// What was done since then, in order.
    unsafe_ops: Vec<Op>,
    /// Operations so far: writes, changes of the length, syncs. Reads too, where failures are injected.
    ops: u64,
    count_reads: bool,
    trouble: Option<Trouble>,
}

#[derive(Debug, Clone)]
enum Op {
    Write { offset: usize, bytes: Vec<u8> },
    Length(usize),
}

/// What happens at an operation.
#[derive(Debug, Clone, Copy)]
pub enum Trouble {
    /// The power goes just before this operation, and does not come back.
    Cut(u64),
    /// This one operation fails.
    Fail(u64, io::ErrorKind),
}

/// Which of the operations that were not synced survive a cut.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Survivors {
    /// None: a disk with a large cache.
    None,
    /// All: a disk without one.
    All,
    /// Any of them, whatever their order.
    Some,
    /// Any of them, and of those any sectors.
    Torn,
}

impl Medium {
    /// A medium with this content, all of it safe.
    pub fn new(content: Vec<u8>) -> Self {
        Self(Arc::new(Mutex::new(State { live: content.clone(), safe: content, ..State::default() })))
    }

    /// With something that will happen to it.
    pub fn with(self, trouble: Trouble) -> Self {
        self.state().count_reads = matches!(trouble, Trouble::Fail(..));
        self.state().trouble = Some(trouble);
        self
    }

    /// Counts reads as operations too.
    pub fn counting_reads(self) -> Self {
        self.state().count_reads = true;
        self
    }

    /// Operations so far.
    pub fn ops(&self) -> u64 {
        self.state().ops
    }

    /// What a program sees.
    pub fn live(&self) -> Vec<u8> {
        self.state().live.clone()
    }

    /// What is left after a cut now.
    pub fn after_a_cut(&self, survivors: Survivors, mut random: impl FnMut() -> u64) -> Vec<u8> {
        let state = self.state();
        let mut left = state.safe.clone();
        for op in &state.unsafe_ops {
            let survives = match survivors {
                Survivors::None => false,
                Survivors::All => true,
                Survivors::Some | Survivors::Torn => random().is_multiple_of(2),
            };
            if !survives {
                continue;
            }
            match op {
                Op::Write { offset, bytes } if survivors == Survivors::Torn => {
                    tear(&mut left, *offset, bytes, &mut random);
                }
                Op::Write { offset, bytes } => write(&mut left, *offset, bytes),
                Op::Length(length) => left.resize(*length, 0),
            }
        }
        left
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.0.lock().expect("lock")
    }
}

/// Writes some of the sectors that `bytes` lies in.
fn tear(to: &mut Vec<u8>, offset: usize, bytes: &[u8], random: &mut impl FnMut() -> u64) {
    let mut at = 0;
    while at < bytes.len() {
        let in_sector = SECTOR - (offset + at) % SECTOR;
        let end = bytes.len().min(at + in_sector);
        if random().is_multiple_of(2) {
            write(to, offset + at, &bytes[at..end]);
        }
        at = end;
    }
}

fn write(to: &mut Vec<u8>, offset: usize, bytes: &[u8]) {
    let end = offset + bytes.len();
    if to.len() < end {
        to.resize(end, 0);
    }
    to[offset..end].copy_from_slice(bytes);
}

impl State {
    fn step(&mut self) -> io::Result<()> {
        let at = self.ops;
        self.ops += 1;
        match self.trouble {
            Some(Trouble::Cut(cut)) if at >= cut => Err(io::Error::other("no power")),
            Some(Trouble::Fail(fail, kind)) if at == fail => Err(io::Error::new(kind, "injected")),
            _ => Ok(()),
        }
    }
}

impl StorageBackend for Medium {
    fn len(&self) -> io::Result<u64> {
        Ok(self.state().live.len() as u64)
    }

    fn read(&self, offset: u64, out: &mut [u8]) -> io::Result<()> {
        let mut state = self.state();
        if state.count_reads {
            state.step()?;
        }
        let offset = usize::try_from(offset).expect("fits");
        let bytes = state.live.get(offset..offset + out.len());
        out.copy_from_slice(bytes.ok_or(io::ErrorKind::UnexpectedEof)?);
        Ok(())
    }

    fn set_len(&self, len: u64) -> io::Result<()> {
        let mut state = self.state();
        state.step()?;
        let length = usize::try_from(len).expect("fits");
        state.live.resize(length, 0);
        state.unsafe_ops.push(Op::Length(length));
        Ok(())
    }

    fn sync_data(&self) -> io::Result<()> {
        let mut state = self.state();
        state.step()?;
        state.safe = state.live.clone();
        state.unsafe_ops.clear();
        Ok(())
    }

    fn write(&self, offset: u64, data: &[u8]) -> io::Result<()> {
        let mut state = self.state();
        state.step()?;
        let offset = usize::try_from(offset).expect("fits");
        write(&mut state.live, offset, data);
        state.unsafe_ops.push(Op::Write { offset, bytes: data.to_vec() });
        Ok(())
    }
}

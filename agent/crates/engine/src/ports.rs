//! What the engine needs from the world, as traits and plain values. The daemon implements them over the
//! store and the kernel, the simulator over memory.

use edgelet_types::image::ImageRecord;
use edgelet_types::instance::Instance;
use edgelet_types::record::{Change, Contents};
use edgelet_types::{ContainerId, Digest, Fault, ImageRef, Platform, UnixMillis};
use std::time::Duration;

/// The durable memory of the engine.
pub trait Ledger: Send {
    /// Reads everything. Called once, by [`crate::Engine::recover`].
    fn load(&mut self) -> Result<Contents, Fault>;

    /// Makes all of `changes` durable, in order, or none of them. Blocks until they are on the medium.
    fn commit(&mut self, changes: &[Change]) -> Result<(), Fault>;
}

/// The only source of randomness: identities of workloads and runs come from it.
pub trait Entropy: Send {
    /// Sixteen bytes that were never returned before.
    fn bytes(&mut self) -> [u8; 16];
}

/// The time of a call. The engine reads no clock.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Now {
    /// Since an arbitrary instant of this process; never goes back. All waiting is measured with it.
    pub monotonic: Duration,
    /// The wall clock, for showing only. It may jump either way at any time.
    pub wall: UnixMillis,
}

/// What does not change while the daemon runs.
#[derive(Debug, Clone, PartialEq)]
pub struct Settings {
    /// What images must fit when a workload names no platform: [`Platform::host`].
    pub platform: Platform,
    /// The kernel's boot id (`/proc/sys/kernel/random/boot_id`).
    pub boot: String,
    /// While fewer bytes than these are free on the data file system nothing is pulled and no instance is replaced;
    /// what is wanted and held is started.
    pub reserve_bytes: u64,
    /// The most pulls in flight. Each holds buffers and a share of a thin link; two let a small image
    /// overtake a large one.
    pub pulls: usize,
    /// The most other steps in flight: as many as the driver has workers for them.
    pub steps: usize,
}

/// When an observation was begun, in the engine's own counting. See [`crate::Engine::begin_observation`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct AsOf(pub(crate) u64);

/// What was found on the machine: the complete list, not a change of it.
#[derive(Debug, Clone, PartialEq)]
pub struct Actual {
    /// Taken before the first look, so that what changed meanwhile is not judged by old news.
    pub as_of: AsOf,
    /// Every instance with a bundle, ours or not known any more.
    pub instances: Vec<Instance>,
    /// Containers without an instance that left something: a scratch directory, a mount, a cgroup. It may
    /// be empty: whatever the engine itself started is in its journal.
    pub leftovers: Vec<ContainerId>,
    /// Every complete image.
    pub images: Vec<HeldImage>,
    /// Free bytes of the data file system.
    pub free_bytes: u64,
}

/// The part of an image that the engine needs to know.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct HeldImage {
    /// Its identity.
    pub id: Digest,
    /// The digest it was pulled by.
    pub manifest: Option<Digest>,
    /// Names that point at it.
    pub names: Vec<ImageRef>,
    /// What it is for.
    pub platform: Platform,
}

impl From<&ImageRecord> for HeldImage {
    fn from(record: &ImageRecord) -> Self {
        Self {
            id: record.id,
            manifest: record.manifest,
            names: record.names.clone(),
            platform: record.platform.clone(),
        }
    }
}

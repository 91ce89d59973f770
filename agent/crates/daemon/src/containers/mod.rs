//! Containers on this machine: finding, starting, signalling and removing them.

mod bundle_dir;
mod devices;
mod end;
mod id_ranges;
mod start;
mod watch;
mod zygote;

pub use bundle_dir::{Held, find_all};
pub use end::{kill, remove, signal, stop};
pub use id_ranges::IdRanges;
pub use start::{Launch, Means, start};
pub use watch::Watcher;
pub use zygote::Zygote;

//! Which users and groups of the host stand for those of a workload with users of its own.
//!
//! Nothing of it is kept: what is taken is found in the orders of the containers that there are. In images and
//! volumes the owners are those that the workload sees, and what else a run writes goes with it, so the next one may
//! have another range.

use super::bundle_dir;
use edgelet_types::config::{IDS_OF_WORKLOAD, IdRange};
use edgelet_types::{Fault, Layout, Reason};
use std::collections::BTreeSet;
use std::io;
use std::sync::{Mutex, PoisonError};

/// The ranges of this node.
pub struct IdRanges {
    all: IdRange,
    choosing: Mutex<()>,
}

impl IdRanges {
    /// Parts of `all`, one for each container.
    pub fn new(all: IdRange) -> Self {
        Self { all, choosing: Mutex::default() }
    }

    /// Chooses the first id of a range that no container has. `publish` writes it where the next look finds it.
    pub fn choose(
        &self,
        layout: &Layout,
        publish: impl FnOnce(u32) -> Result<(), Fault>,
    ) -> Result<u32, Fault> {
        let _alone = self.choosing.lock().unwrap_or_else(PoisonError::into_inner);
        let taken = taken(layout)
            .map_err(|error| Fault::chain(Reason::Storage, &error).context("look for ids that are taken"))?;
        let first = free(self.all, &taken).ok_or_else(|| {
            let wanted = "more workloads with userns: auto run than usernsIds has room for, 65536 for each";
            Fault::new(Reason::CreateFailed, wanted)
        })?;
        publish(first)?;
        Ok(first)
    }
}

fn taken(layout: &Layout) -> io::Result<BTreeSet<u32>> {
    let mut taken = BTreeSet::new();
    for container in bundle_dir::containers(layout)? {
        taken.extend(bundle_dir::order(layout, &container)?.and_then(|order| order.first_id));
    }
    Ok(taken)
}

/// A range that was chosen with another configuration may lie across two of this one's.
fn free(all: IdRange, taken: &BTreeSet<u32>) -> Option<u32> {
    let ranges = 0..all.count / IDS_OF_WORKLOAD;
    let mut firsts = ranges.map(|number| all.first + number * IDS_OF_WORKLOAD);
    firsts.find(|first| taken.iter().all(|other| other.abs_diff(*first) >= IDS_OF_WORKLOAD))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_range_touches_no_other() {
        let all = IdRange { first: 100_000, count: 3 * IDS_OF_WORKLOAD + 1 };
        let free = |taken: &[u32]| free(all, &taken.iter().copied().collect());
        assert_eq!(free(&[]), Some(100_000));
        assert_eq!(free(&[100_000]), Some(165_536));
        assert_eq!(free(&[165_536]), Some(100_000));
        // From before the configuration changed.
        assert_eq!(free(&[100_001]), Some(231_072));
        assert_eq!(free(&[100_000, 165_536, 231_072]), None);
    }
}

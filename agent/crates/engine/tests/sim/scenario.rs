//! What happens in a simulated run: wishes of users, the nature of the programs, the troubles of the
//! machine. All of it follows from a seed.

use crate::rng::Rng;
use edgelet_types::ImageRef;
use edgelet_types::workload::Target;
use std::time::Duration;

/// How many workloads there are to wish for.
pub const SLOTS: usize = 3;
/// How many different images.
pub const IMAGES: usize = 4;

#[derive(Debug, Clone)]
pub struct Scenario {
    pub seed: u64,
    pub intents: Vec<(Duration, Intent)>,
    pub programs: [Nature; IMAGES],
    /// From then on nothing goes wrong any more, and every program runs for ever.
    pub quiet: Duration,
    /// One of so many actions fails before then.
    pub trouble_one_in: u64,
    /// The ledger refuses every commit in this time.
    pub ledger_full: Option<(Duration, Duration)>,
    /// The data file system is below its reserve in this time.
    pub low_on_disk: Option<(Duration, Duration)>,
    /// News of single runs get lost; the driver looks now and then instead.
    pub lossy: bool,
    /// Something that nobody knows runs from the beginning.
    pub stray: bool,
}

/// What a user wishes for one of the slots.
#[derive(Debug, Clone, Copy)]
pub enum Intent {
    Apply { slot: usize, image: usize, target: Target },
    SetTarget { slot: usize, target: Target },
    Restart { slot: usize },
    Rebuild { slot: usize },
}

/// What the program of an image is like.
#[derive(Debug, Clone, Copy)]
pub struct Nature {
    /// It ends by itself after about so long.
    pub ends_after: Option<Duration>,
    /// Only SIGKILL ends it.
    pub deaf: bool,
    /// Its end is the end of its shim.
    pub takes_shim_along: bool,
}

impl Scenario {
    pub fn new(seed: u64) -> Self {
        let mut rng = Rng::new(seed);
        let mut intents = vec![(Duration::ZERO, apply(&mut rng, Some(Target::Running)))];
        for _ in 0..2 + rng.below(6) {
            // Often in a bunch, sometimes apart.
            let at = Duration::from_millis(if rng.one_in(2) { rng.below(3_000) } else { rng.below(150_000) });
            intents.push((at, intent(&mut rng)));
        }
        intents.sort_by_key(|(at, _)| *at);
        let span = |rng: &mut Rng| {
            let from = Duration::from_millis(rng.below(100_000));
            (from, from + Duration::from_millis(rng.below(60_000)))
        };
        Self {
            seed,
            intents,
            programs: std::array::from_fn(|_| Nature {
                ends_after: rng.one_in(2).then(|| Duration::from_millis(rng.below(60_000))),
                deaf: rng.one_in(4),
                takes_shim_along: rng.one_in(5),
            }),
            quiet: Duration::from_secs(160 + rng.below(240)),
            trouble_one_in: *rng.pick(&[6, 12, 40, 1_000_000]),
            ledger_full: rng.one_in(5).then(|| span(&mut rng)),
            low_on_disk: rng.one_in(5).then(|| span(&mut rng)),
            lossy: rng.one_in(6),
            stray: rng.one_in(4),
        }
    }

    /// Whether starts may be late for reasons that are not the back-off's.
    pub fn delays_starts(&self) -> bool {
        self.ledger_full.is_some() || self.low_on_disk.is_some()
    }
}

impl Intent {
    pub fn slot(self) -> usize {
        match self {
            Intent::Apply { slot, .. }
            | Intent::SetTarget { slot, .. }
            | Intent::Restart { slot }
            | Intent::Rebuild { slot } => slot,
        }
    }
}

pub fn image(n: usize) -> ImageRef {
    ImageRef::parse(&format!("registry.test/app:{n}")).expect("reference")
}

fn intent(rng: &mut Rng) -> Intent {
    let slot = usize::try_from(rng.below(SLOTS as u64)).expect("a slot");
    match rng.below(10) {
        0..=3 => apply(rng, None),
        4 => Intent::Restart { slot },
        5 => Intent::Rebuild { slot },
        6 => Intent::SetTarget { slot, target: Target::Deleted },
        7 | 8 => Intent::SetTarget { slot, target: Target::Stopped },
        _ => Intent::SetTarget { slot, target: Target::Running },
    }
}

fn apply(rng: &mut Rng, target: Option<Target>) -> Intent {
    let slot = usize::try_from(rng.below(SLOTS as u64)).expect("a slot");
    let image = usize::try_from(rng.below(IMAGES as u64)).expect("an image");
    let target = target.unwrap_or(if rng.one_in(6) { Target::Stopped } else { Target::Running });
    Intent::Apply { slot, image, target }
}

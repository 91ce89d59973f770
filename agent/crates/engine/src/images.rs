//! Which images are here, and how the pulls of the others go.

use crate::ports::HeldImage;
use crate::step::StepId;
use crate::supervise::{LONGEST_WAIT, SHORT_WAIT, back_off};
use edgelet_types::{Digest, Fault, ImageRef, Platform, Reason, Remedy, WorkloadSpec};
use std::time::Duration;

/// What a workload asks of the image store.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct ImageKey {
    /// Which image.
    pub(crate) reference: ImageRef,
    /// Which variant of it.
    pub(crate) platform: Platform,
}

impl ImageKey {
    /// What this specification asks for on a device of the platform `host`.
    pub(crate) fn of(spec: &WorkloadSpec, host: &Platform) -> Self {
        let platform = spec.platform.clone().unwrap_or_else(|| host.clone());
        Self { reference: spec.image.clone(), platform }
    }
}

/// Images and pulls.
#[derive(Debug, Default)]
pub(crate) struct Images {
    held: Vec<HeldImage>,
    pulls: Vec<Pull>,
}

/// A pull that is in flight, or that has been tried.
#[derive(Debug)]
struct Pull {
    key: ImageKey,
    step: Option<StepId>,
    cancelled: bool,
    attempts: u32,
    from: Duration,
    fault: Option<Fault>,
}

/// Whether an image can be had.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Supply {
    /// It is here. A present image is never pulled again, so that nothing depends on a registry.
    Held(Digest),
    /// It is on its way.
    Coming,
    /// It may be pulled, now or from this time on.
    Absent {
        /// Not before then.
        from: Duration,
    },
}

impl Images {
    /// Replaces the list of images. A pull is over when the list confirms it.
    pub(crate) fn replace(&mut self, held: Vec<HeldImage>) {
        self.held = held;
        let pulls = std::mem::take(&mut self.pulls);
        self.pulls =
            pulls.into_iter().filter(|pull| pull.step.is_some() || self.find(&pull.key).is_none()).collect();
    }

    /// The image that `key` means, if it is here.
    pub(crate) fn find(&self, key: &ImageKey) -> Option<Digest> {
        let means = |image: &&HeldImage| {
            let by_digest = key.reference.digest().is_some_and(|digest| image.manifest == Some(*digest));
            by_digest || image.names.contains(&key.reference)
        };
        let fits = |image: &&HeldImage| image.platform.fit(&key.platform).is_some();
        self.held.iter().find(|image| means(image) && fits(image)).map(|image| image.id)
    }

    /// Whether the image that `key` means can be had.
    pub(crate) fn supply(&self, key: &ImageKey) -> Supply {
        match (self.find(key), self.pull(key)) {
            (Some(id), _) => Supply::Held(id),
            (None, Some(Pull { step: Some(_), .. })) => Supply::Coming,
            (None, Some(pull)) => Supply::Absent { from: pull.from },
            (None, None) => Supply::Absent { from: Duration::ZERO },
        }
    }

    /// Why the last pull failed.
    pub(crate) fn fault(&self, key: &ImageKey) -> Option<&Fault> {
        self.pull(key)?.fault.as_ref()
    }

    /// How many pulls are in flight.
    pub(crate) fn in_flight(&self) -> usize {
        self.pulls.iter().filter(|pull| pull.step.is_some()).count()
    }

    /// A pull was handed out.
    pub(crate) fn begun(&mut self, key: &ImageKey, step: StepId) {
        let pull = self.entry(key);
        pull.step = Some(step);
        pull.cancelled = false;
    }

    /// A pull ended well.
    pub(crate) fn pulled(&mut self, key: &ImageKey, id: Digest, manifest: Option<Digest>, now: Duration) {
        let pull = self.entry(key);
        pull.step = None;
        pull.fault = None;
        // It counts as an attempt until the list of images confirms it: an image that is pulled and then
        // not found must not be pulled in a circle.
        pull.attempts = pull.attempts.saturating_add(1);
        pull.from = now + back_off(pull.attempts);
        for image in &mut self.held {
            image.names.retain(|name| *name != key.reference);
        }
        match self.held.iter_mut().find(|image| image.id == id) {
            Some(image) => image.names.push(key.reference.clone()),
            None => self.held.push(HeldImage {
                id,
                manifest,
                names: vec![key.reference.clone()],
                platform: key.platform.clone(),
            }),
        }
    }

    /// A pull failed. Returns how long is waited: what time can heal is tried soon, what a person must heal
    /// is tried rarely.
    pub(crate) fn failed(&mut self, key: &ImageKey, fault: Fault, now: Duration) -> Duration {
        let pull = self.entry(key);
        pull.step = None;
        let wait = match (fault.reason, fault.reason.remedy()) {
            (Reason::Cancelled | Reason::ShuttingDown, _) => SHORT_WAIT,
            (_, Remedy::RetryLater) => {
                pull.attempts = pull.attempts.saturating_add(1);
                back_off(pull.attempts)
            }
            _ => LONGEST_WAIT,
        };
        pull.from = now + wait;
        pull.fault = Some(fault);
        wait
    }

    /// Somebody asked for an attempt: the past does not delay it.
    pub(crate) fn forgive(&mut self, key: &ImageKey) {
        self.pulls.retain(|pull| pull.key != *key || pull.step.is_some());
    }

    /// Drops what nobody wants, and names the pulls in flight that are to be cancelled, each once.
    pub(crate) fn abandon(&mut self, wanted: impl Fn(&ImageKey) -> bool) -> Vec<StepId> {
        self.pulls.retain(|pull| pull.step.is_some() || wanted(&pull.key));
        let unwanted = self.pulls.iter_mut().filter(|pull| !pull.cancelled && !wanted(&pull.key));
        unwanted
            .filter_map(|pull| {
                pull.cancelled = true;
                pull.step
            })
            .collect()
    }

    fn pull(&self, key: &ImageKey) -> Option<&Pull> {
        self.pulls.iter().find(|pull| pull.key == *key)
    }

    fn entry(&mut self, key: &ImageKey) -> &mut Pull {
        let at = self.pulls.iter().position(|pull| pull.key == *key).unwrap_or_else(|| {
            let from = Duration::ZERO;
            self.pulls.push(Pull {
                key: key.clone(),
                step: None,
                cancelled: false,
                attempts: 0,
                from,
                fault: None,
            });
            self.pulls.len() - 1
        });
        &mut self.pulls[at]
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn key(reference: &str) -> ImageKey {
        let reference = ImageRef::parse(reference).expect("reference");
        ImageKey { reference, platform: Platform::parse("linux/amd64").expect("platform") }
    }

    fn secs(n: u64) -> Duration {
        Duration::from_secs(n)
    }

    #[test]
    fn the_wait_after_a_failed_pull_depends_on_who_must_act() {
        let cases: [(Reason, &[u64]); 5] = [
            (Reason::RegistryUnreachable, &[10, 20, 40, 80, 160, 300, 300]),
            (Reason::ImageNotFound, &[300, 300]),
            (Reason::RegistryDenied, &[300, 300]),
            (Reason::Internal, &[300]),
            (Reason::Cancelled, &[2, 2]),
        ];
        for (reason, waits) in cases {
            let mut images = Images::default();
            for wait in waits {
                let waited = images.failed(&key("app"), Fault::new(reason, "no"), secs(1000));
                assert_eq!(waited, secs(*wait), "{reason:?}");
                assert_eq!(images.supply(&key("app")), Supply::Absent { from: secs(1000 + wait) });
            }
        }
    }

    #[test]
    fn an_image_is_found_by_name_or_digest_and_only_for_the_right_platform() {
        let manifest = Digest::of(b"manifest");
        let image = HeldImage {
            id: Digest::of(b"id"),
            manifest: Some(manifest),
            names: vec![key("app:1").reference],
            platform: key("app").platform,
        };
        let mut images = Images::default();
        images.replace(vec![image]);
        assert_eq!(images.find(&key("app:1")), Some(Digest::of(b"id")));
        assert_eq!(images.find(&key("app:2")), None);
        assert_eq!(images.find(&key(&format!("mirror/app@{manifest}"))), Some(Digest::of(b"id")));
        let foreign =
            ImageKey { platform: Platform::parse("linux/riscv64").expect("platform"), ..key("app:1") };
        assert_eq!(images.find(&foreign), None);
    }

    #[test]
    fn an_image_that_was_pulled_and_is_not_found_is_not_pulled_in_a_circle() {
        let mut images = Images::default();
        images.pulled(&key("app"), Digest::of(b"id"), None, secs(0));
        assert_eq!(images.supply(&key("app")), Supply::Held(Digest::of(b"id")));
        images.replace(Vec::new());
        assert_eq!(images.supply(&key("app")), Supply::Absent { from: secs(10) });
        images.pulled(&key("app"), Digest::of(b"id"), None, secs(10));
        images.replace(Vec::new());
        assert_eq!(images.supply(&key("app")), Supply::Absent { from: secs(30) });
    }

    #[test]
    fn a_pull_that_nobody_wants_is_cancelled_once() {
        let mut images = Images::default();
        images.begun(&key("app"), StepId(4));
        assert_eq!(images.abandon(|_| true), []);
        assert_eq!(images.abandon(|_| false), [StepId(4)]);
        assert_eq!(images.abandon(|_| false), []);
        images.failed(&key("app"), Fault::new(Reason::Cancelled, "cancelled"), secs(1));
        assert_eq!(images.abandon(|_| false), []);
        assert_eq!(images.supply(&key("app")), Supply::Absent { from: Duration::ZERO });
    }
}

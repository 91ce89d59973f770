//! What is let in: the checks of a wish before anything is touched.

use crate::engine::Apply;
use crate::ports::Now;
use edgelet_types::workload::{Source, Target};
use edgelet_types::{Fault, Reason, Workload, WorkloadId, limits};

/// What a wish would make of the workload it is about.
#[derive(Debug, PartialEq)]
pub(crate) struct Admitted {
    /// The workload as it would be.
    pub(crate) workload: Workload,
    /// It is not known yet.
    pub(crate) created: bool,
    /// It needs a fresh instance.
    pub(crate) changed: bool,
    /// It differs from what is durable.
    pub(crate) differs: bool,
}

/// Finds out what a wish means, or why it is refused. `known` are all workloads; `fresh` is the identity to
/// be used if it is a new one without.
pub(crate) fn admit<'a>(
    wish: Apply,
    known: impl Iterator<Item = &'a Workload> + Clone,
    fresh: WorkloadId,
    now: Now,
) -> Result<Admitted, Fault> {
    let by_name = known.clone().find(|one| one.application == wish.application && one.name == wish.name);
    let present = match (&wish.id, by_name) {
        (Some(id), Some(named)) if named.id != *id => {
            let text =
                format!("{}/{} is the name of another workload, {}", wish.application, wish.name, named.id);
            return Err(Fault::new(Reason::Conflict, text));
        }
        (Some(id), None) => known.clone().find(|one| one.id == *id),
        (_, named) => named,
    };
    let Some(present) = present else {
        if known.count() >= limits::WORKLOADS {
            let text = format!("this node has {} workloads already, which is its limit", limits::WORKLOADS);
            return Err(Fault::new(Reason::InvalidInput, text));
        }
        let workload = Workload {
            id: wish.id.unwrap_or(fresh),
            application: wish.application,
            name: wish.name,
            source: wish.source,
            target: wish.target,
            generation: 1,
            spec: wish.spec,
            manifest: wish.manifest,
            created_at: now.wall,
            updated_at: now.wall,
        };
        return Ok(Admitted { workload, created: true, changed: true, differs: true });
    };
    if present.source != wish.source {
        let text = format!("{}/{} belongs to {}", present.application, present.name, owner(present.source));
        return Err(Fault::new(Reason::Forbidden, text));
    }
    let again = wish.target == Target::Running && present.target != Target::Running;
    let changed = again || wish.spec != present.spec;
    let workload = Workload {
        id: present.id.clone(),
        application: wish.application,
        name: wish.name,
        source: wish.source,
        target: wish.target,
        generation: present.generation + u64::from(changed),
        spec: wish.spec,
        manifest: wish.manifest,
        created_at: present.created_at,
        updated_at: present.updated_at,
    };
    let differs = workload != *present;
    let workload = Workload { updated_at: if differs { now.wall } else { workload.updated_at }, ..workload };
    Ok(Admitted { workload, created: false, changed, differs })
}

fn owner(source: Source) -> &'static str {
    match source {
        Source::Local => "the local api",
        Source::Managed => "the controller",
        Source::Controlplane => "the node's control plane",
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use edgelet_types::{ImageRef, Name, UnixMillis, WorkloadSpec};
    use std::time::Duration;

    const NOW: Now = Now { monotonic: Duration::ZERO, wall: UnixMillis(1000) };

    fn id(n: u8) -> WorkloadId {
        WorkloadId::from_random([n; 16])
    }

    fn wish(name: &str, image: &str) -> Apply {
        Apply {
            id: None,
            application: Name::parse("app").expect("name"),
            name: Name::parse(name).expect("name"),
            source: Source::Local,
            target: Target::Running,
            spec: WorkloadSpec::of(ImageRef::parse(image).expect("reference")),
            manifest: None,
        }
    }

    fn present(n: u8) -> Workload {
        let name = format!("w{n}");
        let fresh = id(n);
        let now = Now { wall: UnixMillis(1), ..NOW };
        let admitted = admit(wish(&name, "one"), [].iter(), fresh, now).expect("new");
        Workload { generation: 5, ..admitted.workload }
    }

    #[test]
    fn a_wish_is_matched_by_name_and_counts_a_generation_only_for_a_change() {
        let known = [present(1), present(2), Workload { target: Target::Stopped, ..present(3) }];
        //                  wish                      id     generation created differs
        let cases = [
            (wish("w9", "one"), id(7), 1, true, true),
            (wish("w1", "one"), id(1), 5, false, false),
            (wish("w1", "two"), id(1), 6, false, true),
            (wish("w3", "one"), id(3), 6, false, true),
            (Apply { target: Target::Stopped, ..wish("w2", "one") }, id(2), 5, false, true),
            (Apply { id: Some(id(1)), ..wish("renamed", "one") }, id(1), 5, false, true),
            (Apply { id: Some(id(8)), ..wish("w8", "one") }, id(8), 1, true, true),
        ];
        for (wish, id, generation, created, differs) in cases {
            let admitted = admit(wish.clone(), known.iter(), self::id(7), NOW).expect("admitted");
            let got =
                (admitted.workload.id, admitted.workload.generation, admitted.created, admitted.differs);
            assert_eq!(got, (id, generation, created, differs), "{wish:?}");
            assert_eq!(admitted.workload.updated_at == NOW.wall, differs);
        }
    }

    #[test]
    fn what_is_refused_names_its_reason() {
        let known = [present(1), present(2)];
        let cases = [
            (Apply { id: Some(id(9)), ..wish("w1", "one") }, Reason::Conflict),
            (Apply { id: Some(id(2)), ..wish("w1", "one") }, Reason::Conflict),
            (Apply { source: Source::Managed, ..wish("w1", "one") }, Reason::Forbidden),
        ];
        for (wish, reason) in cases {
            let fault = admit(wish, known.iter(), id(7), NOW).expect_err("refused");
            assert_eq!(fault.reason, reason, "{fault}");
        }
    }

    #[test]
    fn one_workload_more_than_the_limit_is_refused() {
        let mut known = vec![present(1); limits::WORKLOADS - 1];
        assert!(admit(wish("new", "one"), known.iter(), id(7), NOW).is_ok());
        known.push(present(1));
        let fault = admit(wish("new", "one"), known.iter(), id(7), NOW).expect_err("refused");
        assert_eq!(fault.reason, Reason::InvalidInput);
        assert!(admit(wish("w1", "two"), known.iter(), id(7), NOW).is_ok(), "a known one may change");
    }
}

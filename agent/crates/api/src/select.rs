//! What a selector means: pure look-ups over what there is.

use crate::node::{Image, ImageTarget, Microservice};
use edgelet_types::{Digest, Fault, ImageRef, Reason};

/// The fewest digits of an id that select something.
const PREFIX: usize = 3;

/// Finds a workload by `application.name`, by its name alone, or by the first digits of its container's
/// id. The first of these that matches anything decides.
pub(crate) fn microservice<'a>(all: &'a [Microservice], selector: &str) -> Result<&'a Microservice, Fault> {
    let full_name = |ms: &Microservice| format!("{}.{}", ms.workload.application, ms.workload.name);
    let by_full_name: Vec<_> = all.iter().filter(|ms| full_name(ms) == selector).collect();
    if !by_full_name.is_empty() {
        return one(selector, by_full_name);
    }
    let by_name: Vec<_> = all.iter().filter(|ms| ms.workload.name.as_str() == selector).collect();
    if !by_name.is_empty() {
        return one(selector, by_name);
    }
    let has_container = |ms: &&Microservice| {
        selector.len() >= PREFIX && ms.container.as_ref().is_some_and(|id| id.as_str().starts_with(selector))
    };
    one(selector, all.iter().filter(has_container).collect())
}

fn one<'a>(selector: &str, found: Vec<&'a Microservice>) -> Result<&'a Microservice, Fault> {
    match found.as_slice() {
        [one] => Ok(one),
        [] => Err(Fault::new(Reason::NotFound, format!("microservice {selector:?}: no such"))),
        several => {
            let names: Vec<String> = several
                .iter()
                .map(|ms| format!("{}.{}", ms.workload.application, ms.workload.name))
                .collect();
            Err(Fault::new(
                Reason::InvalidInput,
                format!("microservice {selector:?}: ambiguous, could be {}", names.join(", ")),
            ))
        }
    }
}

/// Finds an image by name, by id, or by the first digits of its id. A name wins over an id, because
/// `abc` may be both; `sha256:…` is never a name.
pub(crate) fn image(all: &[Image], selector: &str) -> Result<ImageTarget, Fault> {
    if let Ok(name) = ImageRef::parse(selector)
        && all.iter().any(|image| image.record.names.contains(&name))
    {
        return Ok(ImageTarget::Name(name));
    }
    let digits = selector.strip_prefix("sha256:").unwrap_or(selector);
    let is_prefix = digits.len() >= PREFIX && digits.bytes().all(|b| matches!(b, b'0'..=b'9' | b'a'..=b'f'));
    let found: Vec<&Digest> = all
        .iter()
        .map(|image| &image.record.id)
        .filter(|id| is_prefix && id.to_hex().starts_with(digits))
        .collect();
    match found.as_slice() {
        [id] => Ok(ImageTarget::Id(**id)),
        [] => Err(Fault::new(Reason::NotFound, format!("image {selector:?}: not on this device"))),
        several => {
            let ids: Vec<String> = several.iter().map(|id| id.short()).collect();
            Err(Fault::new(
                Reason::InvalidInput,
                format!("image {selector:?}: ambiguous, could be {}", ids.join(", ")),
            ))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::node::Phase;
    use edgelet_types::image::{ImageRecord, RunConfig};
    use edgelet_types::workload::{Source, Target};
    use edgelet_types::{ContainerId, Name, Platform, UnixMillis, Workload, WorkloadId, WorkloadSpec};

    fn ms(application: &str, name: &str, byte: u8) -> Microservice {
        let image = ImageRef::parse("busybox").expect("a reference");
        Microservice {
            workload: Workload {
                id: WorkloadId::from_random([byte; 16]),
                application: Name::parse(application).expect("a name"),
                name: Name::parse(name).expect("a name"),
                source: Source::Local,
                target: Target::Running,
                generation: 1,
                spec: WorkloadSpec::of(image),
                manifest: None,
                created_at: UnixMillis(0),
                updated_at: UnixMillis(0),
            },
            phase: Phase::Running,
            container: Some(ContainerId::from_random([byte; 16])),
            running_generation: Some(1),
            pid: None,
            started_at: None,
            error: None,
            last_failure: None,
            restarts: 0,
            waiting_for: None,
        }
    }

    #[test]
    fn a_workload_is_found_by_every_documented_selector() {
        let all = [ms("edgelet", "web", 0xaa), ms("shop", "web", 0xab), ms("shop", "db", 0xcd)];
        let found = |selector: &str| {
            microservice(&all, selector)
                .map(|ms| format!("{}.{}", ms.workload.application, ms.workload.name))
                .map_err(|fault| fault.reason)
        };
        assert_eq!(found("shop.web"), Ok("shop.web".into()));
        assert_eq!(found("db"), Ok("shop.db".into()));
        assert_eq!(found("cdcd"), Ok("shop.db".into()));
        assert_eq!(found("web"), Err(Reason::InvalidInput));
        assert_eq!(found("cd"), Err(Reason::NotFound));
        assert_eq!(found(""), Err(Reason::NotFound));
    }

    fn stored(name: Option<&str>, id: Digest) -> Image {
        let record = ImageRecord {
            id,
            manifest: None,
            platform: Platform::host(),
            names: name.map(|name| ImageRef::parse(name).expect("a reference")).into_iter().collect(),
            layers: Vec::new(),
            config: RunConfig::default(),
            created: None,
            published_at: UnixMillis(0),
        };
        Image { record, used_by: 0 }
    }

    #[test]
    fn an_image_is_found_by_name_or_unique_digits() {
        let id = |digits: &str| Digest::from_hex(&format!("{digits:0<64}")).expect("digits");
        let all = [stored(Some("busybox"), id("abcd")), stored(None, id("abce"))];
        assert_eq!(
            image(&all, "docker.io/library/busybox:latest"),
            Ok(ImageTarget::Name(ImageRef::parse("busybox").expect("a reference")))
        );
        assert_eq!(image(&all, "abce"), Ok(ImageTarget::Id(id("abce"))));
        assert_eq!(image(&all, &id("abcd").to_string()), Ok(ImageTarget::Id(id("abcd"))));
        let ambiguous = image(&all, "abc").expect_err("two images");
        assert!(ambiguous.message.contains("abcd00000000, abce00000000"), "{ambiguous}");
        for (selector, want) in
            [("ab", Reason::NotFound), ("nginx", Reason::NotFound), ("", Reason::NotFound)]
        {
            assert_eq!(image(&all, selector).map_err(|fault| fault.reason), Err(want), "{selector}");
        }
    }
}

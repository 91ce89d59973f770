//! The small rules that several fields share.

use super::ManifestError;
use edgelet_types::Name;

/// The error of one field.
pub(super) fn at(path: impl Into<String>, rule: impl Into<String>) -> ManifestError {
    ManifestError::Field { path: path.into(), rule: rule.into() }
}

/// The refusal of one field.
pub(super) fn not_supported(path: impl Into<String>, hint: &str) -> ManifestError {
    ManifestError::NotSupported { path: path.into(), hint: hint.to_owned() }
}

/// A DNS-1123 label.
pub(super) fn name(path: &str, text: &str) -> Result<Name, ManifestError> {
    Name::parse(text).map_err(|error| at(path, error.to_string()))
}

/// A path from the root that names one place: no `..`, no NUL.
pub(super) fn absolute(path: &str, text: &str) -> Result<String, ManifestError> {
    let parts = || text.split('/');
    match text.starts_with('/') && !text.contains('\0') && !parts().any(|part| part == "..") {
        true => Ok(text.to_owned()),
        false => Err(at(path, format!("{text:?}: must be an absolute path without .."))),
    }
}

/// A path inside the container that something is mounted on; the root itself is not for the taking.
pub(super) fn mount_point(path: &str, text: &str) -> Result<String, ManifestError> {
    let normal = absolute(path, text)?
        .split('/')
        .filter(|part| !part.is_empty() && *part != ".")
        .fold(String::new(), |normal, part| normal + "/" + part);
    match normal.is_empty() {
        true => Err(at(path, "must not be the root directory")),
        false => Ok(normal),
    }
}

/// A number of MiB above zero, as bytes.
pub(super) fn mib(path: &str, count: i64) -> Result<u64, ManifestError> {
    u64::try_from(count)
        .ok()
        .filter(|count| (1..=1 << 30).contains(count))
        .map(|count| count << 20)
        .ok_or_else(|| at(path, format!("{count}: must be a number of MiB above 0")))
}

/// The kernel's list format, such as `0-2,5`.
pub(super) fn cpu_list(path: &str, text: &str) -> Result<String, ManifestError> {
    let number = |text: &str| text.parse::<u16>().ok();
    let good = text.split(',').all(|part| match part.split_once('-') {
        Some((low, high)) => matches!((number(low), number(high)), (Some(low), Some(high)) if low <= high),
        None => number(part).is_some(),
    });
    match good {
        true => Ok(text.to_owned()),
        false => Err(at(path, format!("{text:?}: must be a list of cores such as 0-2,5"))),
    }
}

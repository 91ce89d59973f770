//! The kernel that runs, and the oldest one that will do.

use std::ffi::CStr;
use std::fmt;

/// Major and minor number of a kernel.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Release(pub u32, pub u32);

/// The oldest kernel that has everything which is not looked for and done without: `openat2(2)`, the mount calls by
/// descriptor, `clone3(2)` into a group, `pidfd_open(2)`.
pub const FLOOR: Release = Release(5, 10);

/// The kernel is older than [`FLOOR`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct TooOld(Release);

impl fmt::Display for TooOld {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Linux {} is too old, {FLOOR} is needed", self.0)
    }
}

impl std::error::Error for TooOld {}

impl fmt::Display for Release {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}.{}", self.0, self.1)
    }
}

/// Checks the kernel. One whose number cannot be read is taken for new enough: what is missing fails by its name.
pub fn check() -> Result<(), TooOld> {
    // SAFETY: a plain C structure, for which all zeros is a value.
    let mut names: libc::utsname = unsafe { std::mem::zeroed() };
    // SAFETY: `names` outlives the call and is the only pointer passed.
    if unsafe { libc::uname(&raw mut names) } != 0 {
        return Ok(());
    }
    // SAFETY: the kernel ends its texts with a zero, and there was one before.
    let release = unsafe { CStr::from_ptr(names.release.as_ptr()) };
    match parse(&release.to_string_lossy()) {
        Some(release) if release < FLOOR => Err(TooOld(release)),
        _ => Ok(()),
    }
}

fn parse(text: &str) -> Option<Release> {
    let mut numbers = text.split(|c: char| !c.is_ascii_digit());
    Some(Release(numbers.next()?.parse().ok()?, numbers.next()?.parse().ok()?))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn releases_are_compared_by_number_whatever_follows() {
        assert_eq!(parse("6.18.44-fc-v657"), Some(Release(6, 18)));
        assert_eq!(parse("5.10-rc1"), Some(Release(5, 10)));
        assert_eq!(parse("nonsense"), None);
        assert!(
            Release(5, 9) < FLOOR
                && Release(4, 19) < FLOOR
                && Release(5, 10) >= FLOOR
                && Release(6, 1) > FLOOR
        );
        assert_eq!(TooOld(Release(4, 19)).to_string(), "Linux 4.19 is too old, 5.10 is needed");
        assert_eq!(check(), Ok(()));
    }
}

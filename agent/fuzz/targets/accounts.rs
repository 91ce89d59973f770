#![no_main]
//! Users and groups of an image: digits never become a name, and nobody becomes an id that the image does
//! not give to that name, least of all the one that means "stay who you are".
//!
//! Input: user, passwd and group, with zero bytes between them.

use edgelet_daemon::fuzzing::resolve_identity;
use edgelet_fuzz::pieces;
use libfuzzer_sys::fuzz_target;

fuzz_target!(|data: &[u8]| {
    let [user, passwd, groups] = pieces(data).map(String::from_utf8_lossy);
    let Ok(identity) = resolve_identity(Some(&user), None, &passwd, &groups) else { return };
    let name = user.split(':').next().unwrap_or_default();
    match name.bytes().all(|byte| byte.is_ascii_digit()) {
        true => assert_eq!(name.parse(), Ok(identity.uid), "{user:?}"),
        false => assert!(gives(&passwd, name, identity.uid), "{user:?}: {identity:?}"),
    }
    if let Some((_, group)) = user.split_once(':') {
        match group.bytes().all(|byte| byte.is_ascii_digit()) {
            true => assert_eq!(group.parse(), Ok(identity.gid), "{user:?}"),
            false => assert!(gives(&groups, group, identity.gid), "{user:?}: {identity:?}"),
        }
    }
    let ids = [identity.uid, identity.gid].into_iter().chain(identity.groups);
    assert!(ids.into_iter().all(|id| id != u32::MAX), "{user:?}");
    assert!(identity.home.starts_with('/'));
});

/// Whether a file, either of them, has an entry that gives the name this id.
fn gives(file: &str, name: &str, id: u32) -> bool {
    file.lines().any(|line| {
        let mut fields = line.split(':');
        fields.next() == Some(name) && fields.nth(1).is_some_and(|text| text.parse() == Ok(id))
    })
}

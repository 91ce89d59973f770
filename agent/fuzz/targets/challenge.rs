#![no_main]
//! `WWW-Authenticate`: what was understood is understood again when it is written by the book.

use edgelet_image::fuzzing::challenges;
use libfuzzer_sys::fuzz_target;

fuzz_target!(|header: &str| {
    let found = challenges(header);
    let written: Vec<String> = found
        .iter()
        .map(|challenge| match challenge {
            None => "Basic".to_owned(),
            Some((realm, service, scope)) => {
                let given = [("service", service), ("scope", scope)];
                let given = given.iter().filter_map(|(key, value)| Some((*key, value.as_deref()?)));
                let given = given.map(|(key, value)| format!(", {key}={}", quoted(value)));
                format!("Bearer realm={}{}", quoted(realm), given.collect::<String>())
            }
        })
        .collect();
    assert_eq!(challenges(&written.join(", ")), found, "{written:?}");
});

/// RFC 9110 5.6.4.
fn quoted(value: &str) -> String {
    format!("\"{}\"", value.replace('\\', r"\\").replace('"', "\\\""))
}

#![no_main]
//! The device configuration: numbers are in range, and neither an error nor a log line tells a password.
//!
//! Input: what stands before and after a password, with a zero byte between them.

use edgelet_fuzz::pieces;
use edgelet_types::config::Config;
use libfuzzer_sys::fuzz_target;

const PASSWORD: &str = "correct horse";

fuzz_target!(|data: &[u8]| {
    let [before, after] = pieces(data).map(String::from_utf8_lossy);
    let text = format!("{before}\npassword = \"{PASSWORD}\"{after}");
    let shown = match Config::parse(&text) {
        Ok((config, _)) => {
            assert!((1..=16).contains(&config.pull_parallel));
            assert!(config.disk_reserve_bytes <= 1 << 40);
            format!("{config:?}")
        }
        Err(error) => error.to_string(),
    };
    // Within a text of several lines it would be part of another value.
    let is_password = !["\"\"\"", "'''"].iter().any(|quote| before.contains(quote));
    assert!(!is_password || !shown.contains(PASSWORD), "{shown}");
});

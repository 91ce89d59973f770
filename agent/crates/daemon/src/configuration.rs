//! Reading the configuration file, and what to do when it cannot be read.

use edgelet_sys::durable::publish;
use edgelet_types::config::Config;
use edgelet_types::limits::CONFIG_BYTES;
use edgelet_types::{Fault, Layout, Reason};
use std::fs::{self, File};
use std::io::{self, Read};
use std::path::Path;

/// The configuration in force, and what a person should know about it.
pub struct Loaded {
    /// In force.
    pub config: Config,
    /// Why it is not simply what the file says.
    pub warning: Option<String>,
}

/// Reads the file. Without one the defaults are in force. With one that cannot be used, the last one that
/// could be is: never the defaults, which might mean another node altogether.
///
/// Errors: the file cannot be used and there is no last good one.
pub fn load(layout: &Layout) -> Result<Loaded, Fault> {
    let last_good = layout.data().join(LAST_GOOD);
    let text = match read(&layout.config()) {
        Ok(None) => return Ok(Loaded { config: Config::default(), warning: None }),
        Ok(Some(text)) => text,
        Err(fault) => return fall_back(&last_good, fault),
    };
    match Config::parse(&text) {
        Ok((config, unknown)) => {
            remember(layout, &text)?;
            let warning = (!unknown.is_empty()).then(|| {
                format!("configuration has keys that this version does not know: {}", unknown.join(", "))
            });
            Ok(Loaded { config, warning })
        }
        Err(error) => {
            let fault = Fault::chain(Reason::InvalidInput, &error).context(layout.config().display());
            fall_back(&last_good, fault)
        }
    }
}

/// The copy of the last configuration that could be used, in the data directory.
const LAST_GOOD: &str = "config.last-good.toml";

fn fall_back(last_good: &Path, fault: Fault) -> Result<Loaded, Fault> {
    let Ok(Some(text)) = read(last_good) else { return Err(fault) };
    let Ok((config, _)) = Config::parse(&text) else { return Err(fault) };
    Ok(Loaded { config, warning: Some(format!("{fault}; the last good configuration is in force")) })
}

/// Keeps a copy, written only when it differs: flash wears.
fn remember(layout: &Layout, text: &str) -> Result<(), Fault> {
    let last_good = layout.data().join(LAST_GOOD);
    if fs::read_to_string(&last_good).is_ok_and(|old| old == text) {
        return Ok(());
    }
    publish(&layout.data(), LAST_GOOD, text.as_bytes(), 0o600)
        .map_err(|error| Fault::chain(Reason::Storage, &error).context("keep a copy of the configuration"))
}

fn read(path: &Path) -> Result<Option<String>, Fault> {
    let fault = |error: &io::Error| Fault::chain(Reason::InvalidInput, error).context(path.display());
    let file = match File::open(path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        file => file.map_err(|error| fault(&error))?,
    };
    let mut text = String::new();
    let limited = file.take(CONFIG_BYTES + 1).read_to_string(&mut text).map_err(|error| fault(&error))?;
    if limited as u64 > CONFIG_BYTES {
        return Err(fault(&io::Error::other(format!("larger than {CONFIG_BYTES} bytes"))));
    }
    Ok(Some(text))
}

#[cfg(test)]
mod tests {
    use super::*;
    use edgelet_types::config::LogLevel;

    fn layout() -> (tempfile::TempDir, Layout) {
        let root = tempfile::tempdir().unwrap();
        let layout = Layout::new(root.path());
        fs::create_dir_all(layout.etc()).unwrap();
        fs::create_dir_all(layout.data()).unwrap();
        (root, layout)
    }

    fn put(layout: &Layout, text: &str) {
        publish(&layout.etc(), "config.toml", text.as_bytes(), 0o600).unwrap();
    }

    #[test]
    fn no_file_means_the_defaults() {
        let (_root, layout) = layout();
        let loaded = load(&layout).unwrap();
        assert_eq!((loaded.config, loaded.warning), (Config::default(), None));
    }

    #[test]
    fn a_broken_file_leaves_the_last_good_one_in_force() {
        let (_root, layout) = layout();
        put(&layout, "[profiles.default]\nlogLevel = 'WARN'");
        assert_eq!(load(&layout).unwrap().config.log_level, LogLevel::Warn);
        put(&layout, "[profiles.default");
        let loaded = load(&layout).unwrap();
        assert_eq!(loaded.config.log_level, LogLevel::Warn);
        assert!(loaded.warning.unwrap().contains("last good"));
    }

    #[test]
    fn a_broken_file_without_a_last_good_one_is_an_error_not_the_defaults() {
        let (_root, layout) = layout();
        put(&layout, "currentProfile = 5");
        assert_eq!(load(&layout).err().map(|fault| fault.reason), Some(Reason::InvalidInput));
    }
}

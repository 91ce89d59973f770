//! The device configuration as types. Parsing takes text; reading the file is somebody else's work.
//!
//! The file is TOML with the profiles of the earlier Edgelet: `currentProfile` names one of
//! `[profiles.*]`, and a missing one falls back to `default`. Key names are the earlier ones; values are
//! typed. A key that this version does not know is reported and left alone, because after an A/B
//! rollback the older program reads the newer program's file.

use serde::Deserialize;
use std::collections::BTreeMap;

/// The configuration in force: the current profile with defaults filled in, and what is common.
#[derive(Debug, Clone, PartialEq)]
pub struct Config {
    /// Which profile this is.
    pub profile: String,
    /// The node's namespace, shown to users and the Controller.
    pub namespace: String,
    /// The least severe level that is logged.
    pub log_level: LogLevel,
    /// `TZ` of workloads that set none.
    pub time_zone: String,
    /// Bytes of the data file system that only the engine may use; a pull that would eat into them is
    /// refused before it starts and stopped when it gets there.
    pub disk_reserve_bytes: u64,
    /// How many layers are fetched at a time.
    pub pull_parallel: usize,
    /// Users and groups of the host that stand for those of workloads with users of their own.
    pub own_users: IdRange,
    /// How registries are reached, by host and port as written in an image reference.
    pub registries: BTreeMap<String, Registry>,
}

/// Consecutive ids of users and groups.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct IdRange {
    /// The lowest.
    pub first: u32,
    /// How many.
    pub count: u32,
}

/// How many ids a workload with users of its own has: as many as images use, from 0 on.
pub const IDS_OF_WORKLOAD: u32 = 65_536;

/// How one registry is reached. The default is HTTPS with the system's trust roots, anonymously.
#[derive(Debug, Clone, PartialEq, Eq, Default, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
pub struct Registry {
    /// Plain HTTP instead of HTTPS.
    pub insecure: bool,
    /// PEM file with certificate authorities that are trusted besides the system's.
    pub ca: Option<String>,
    /// For basic authentication and for token services.
    pub username: Option<String>,
    /// Goes with `username`.
    pub password: Option<Secret>,
}

/// A text that is never shown.
#[derive(Clone, PartialEq, Eq, Default)]
pub struct Secret(String);

impl Secret {
    /// Takes a secret in.
    pub fn new(text: impl Into<String>) -> Self {
        Self(text.into())
    }

    /// Lets the secret out, to be put on a wire.
    pub fn expose(&self) -> &str {
        &self.0
    }
}

impl<'de> Deserialize<'de> for Secret {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        // The usual error shows the value that is of the wrong type.
        let text = String::deserialize(deserializer);
        text.map(Self).map_err(|_| serde::de::Error::custom("a secret must be a string"))
    }
}

impl std::fmt::Debug for Secret {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("***")
    }
}

/// How much is logged.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Deserialize)]
#[serde(rename_all = "UPPERCASE")]
pub enum LogLevel {
    /// Why we decided so.
    Debug,
    /// The state of the device changed.
    #[default]
    Info,
    /// We coped.
    Warn,
    /// A promise is broken.
    Error,
    /// Nothing.
    Off,
}

impl LogLevel {
    /// The name that the `log` facade knows.
    pub fn as_filter(self) -> &'static str {
        match self {
            LogLevel::Debug => "debug",
            LogLevel::Info => "info",
            LogLevel::Warn => "warn",
            LogLevel::Error => "error",
            LogLevel::Off => "off",
        }
    }
}

/// Why a configuration text cannot be used.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum ConfigError {
    /// Not TOML, or a value of the wrong type.
    #[error("configuration: {0}")]
    Syntax(String),
    /// The value is outside its range.
    #[error("configuration: {key} = {value}: must be {rule}")]
    Range {
        /// The key as written in the file.
        key: &'static str,
        /// What was written.
        value: String,
        /// What is accepted.
        rule: &'static str,
    },
}

impl Config {
    /// What `edgelet init-config` writes: every key with its default.
    pub const DEFAULT_FILE: &'static str = r#"# edgelet configuration. Missing keys have the values shown here.
currentProfile = "default"

[profiles.default]
namespace = "default"
# DEBUG, INFO, WARN, ERROR or OFF
logLevel = "INFO"
# TZ of workloads that set none
timeZone = "UTC"
# MiB of the data file system that a pull leaves free
diskReserveMiB = 64
# layers fetched at a time
pullParallel = 3
# users and groups of the host for workloads with users of their own, 65536 for each
usernsFirstId = 524288
usernsIds = 16777216

[profiles.development]
logLevel = "DEBUG"

[profiles.production]

# How a registry is reached, by the host and port of the image reference:
# [registries."registry.example:5000"]
# insecure = true                     # plain HTTP
# ca = "/etc/edgelet/registry-ca.pem" # trusted besides the system's authorities
# username = "device"
# password = "secret"
"#;

    /// Parses the text of a configuration file. The second part of the answer names keys that this
    /// version does not know and left alone.
    pub fn parse(text: &str) -> Result<(Self, Vec<String>), ConfigError> {
        let syntax = |error: toml::de::Error| ConfigError::Syntax(describe(&error, text));
        let table: toml::Table = text.parse().map_err(syntax)?;
        let unknown = unknown_keys(&table);
        let file: File = table.try_into().map_err(syntax)?;
        Ok((file.resolve()?, unknown))
    }
}

/// What the parser says, without the line or the value that it quotes: it may be a password, in its place
/// or in a wrong one.
fn describe(error: &toml::de::Error, text: &str) -> String {
    match error.span() {
        Some(span) => {
            let before = text.as_bytes().iter().take(span.start);
            let line = before.filter(|byte| **byte == b'\n').count() + 1;
            format!("line {line}: {}", error.message())
        }
        None => {
            let said = error.to_string();
            let value = said.rfind(", expected ").filter(|_| said.starts_with("invalid type: "));
            let rest = value.map_or(said.as_str(), |end| &said[end + ", ".len()..]);
            rest.trim_end().replace('\n', " ")
        }
    }
}

impl Default for Config {
    fn default() -> Self {
        Self {
            profile: "default".to_owned(),
            namespace: "default".to_owned(),
            log_level: LogLevel::Info,
            time_zone: "UTC".to_owned(),
            disk_reserve_bytes: 64 << 20,
            pull_parallel: 3,
            own_users: IdRange { first: 524_288, count: 256 * IDS_OF_WORKLOAD },
            registries: BTreeMap::new(),
        }
    }
}

#[derive(Deserialize, Default)]
#[serde(rename_all = "camelCase", default)]
struct File {
    current_profile: Option<String>,
    profiles: BTreeMap<String, Profile>,
    registries: BTreeMap<String, Registry>,
}

#[derive(Deserialize, Default)]
#[serde(rename_all = "camelCase", default)]
struct Profile {
    namespace: Option<String>,
    log_level: Option<LogLevel>,
    time_zone: Option<String>,
    #[serde(rename = "diskReserveMiB")]
    disk_reserve_mib: Option<u64>,
    pull_parallel: Option<usize>,
    userns_first_id: Option<u32>,
    userns_ids: Option<u32>,
}

const FILE_KEYS: &[&str] = &["currentProfile", "profiles", "registries"];
const PROFILE_KEYS: &[&str] =
    &["namespace", "logLevel", "timeZone", "diskReserveMiB", "pullParallel", "usernsFirstId", "usernsIds"];

impl File {
    fn resolve(mut self) -> Result<Config, ConfigError> {
        let wanted = match self.current_profile.as_deref() {
            None | Some("def") => "default",
            Some("dev") => "development",
            Some("prod") => "production",
            Some(name) => name,
        };
        let (name, profile) = match self.profiles.remove_entry(wanted) {
            Some(found) => found,
            None => ("default".to_owned(), self.profiles.remove("default").unwrap_or_default()),
        };
        let defaults = Config::default();
        let config = Config {
            profile: name,
            namespace: profile.namespace.unwrap_or(defaults.namespace),
            log_level: profile.log_level.unwrap_or(defaults.log_level),
            time_zone: profile.time_zone.unwrap_or(defaults.time_zone),
            disk_reserve_bytes: match profile.disk_reserve_mib {
                Some(mib) => within("diskReserveMiB", mib, 0..=1 << 20, "0 to 1048576")? << 20,
                None => defaults.disk_reserve_bytes,
            },
            pull_parallel: match profile.pull_parallel {
                Some(count) => within("pullParallel", count, 1..=16, "1 to 16")?,
                None => defaults.pull_parallel,
            },
            own_users: id_range(profile.userns_first_id, profile.userns_ids, defaults.own_users)?,
            registries: self.registries,
        };
        Ok(config)
    }
}

/// Below it are those of the host, and above it the one that means nobody at all.
fn id_range(first: Option<u32>, count: Option<u32>, default: IdRange) -> Result<IdRange, ConfigError> {
    let first = first.unwrap_or(default.first);
    let first = within("usernsFirstId", first, 65_536..=u32::MAX - 65_537, "65536 to 4294901758")?;
    let count = count.unwrap_or(default.count).min(u32::MAX - 1 - first);
    Ok(IdRange { first, count: within("usernsIds", count, 65_536..=u32::MAX, "65536 at least")? })
}

fn within<T: PartialOrd + ToString>(
    key: &'static str,
    value: T,
    range: std::ops::RangeInclusive<T>,
    rule: &'static str,
) -> Result<T, ConfigError> {
    match range.contains(&value) {
        true => Ok(value),
        false => Err(ConfigError::Range { key, value: value.to_string(), rule }),
    }
}

fn unknown_keys(file: &toml::Table) -> Vec<String> {
    let mut unknown: Vec<String> =
        file.keys().filter(|key| !FILE_KEYS.contains(&key.as_str())).cloned().collect();
    let profiles = file.get("profiles").and_then(toml::Value::as_table);
    for (name, profile) in profiles.into_iter().flatten() {
        let keys = profile.as_table().into_iter().flat_map(toml::Table::keys);
        unknown.extend(
            keys.filter(|key| !PROFILE_KEYS.contains(&key.as_str()))
                .map(|key| format!("profiles.{name}.{key}")),
        );
    }
    unknown
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_default_file_says_what_an_empty_one_means() {
        let (written, unknown) = Config::parse(Config::DEFAULT_FILE).expect("the default file parses");
        assert_eq!((written, unknown), (Config::default(), vec![]));
        assert_eq!(Config::parse(""), Ok((Config::default(), vec![])));
    }

    #[test]
    fn a_missing_profile_falls_back_to_default_and_short_names_work() {
        let text = "currentProfile = 'prod'\n[profiles.production]\nlogLevel = 'WARN'\n[profiles.default]\nlogLevel = 'ERROR'";
        assert_eq!(Config::parse(text).map(|(c, _)| c.log_level), Ok(LogLevel::Warn));
        let text = text.replace("'prod'", "'nowhere'");
        assert_eq!(
            Config::parse(&text).map(|(c, _)| (c.profile, c.log_level)),
            Ok(("default".into(), LogLevel::Error))
        );
    }

    #[test]
    fn a_newer_programs_keys_are_reported_not_fatal() {
        let (_, unknown) = Config::parse("new = 1\n[profiles.default]\nnewer = 2").expect("parses");
        assert_eq!(unknown, ["new", "profiles.default.newer"]);
    }

    #[test]
    fn values_out_of_range_name_the_key() {
        let error = Config::parse("[profiles.default]\npullParallel = 0").expect_err("out of range");
        assert_eq!(error.to_string(), "configuration: pullParallel = 0: must be 1 to 16");
        assert!(Config::parse("[profiles.default]\nlogLevel = 'LOUD'").is_err());
    }

    #[test]
    fn ids_of_workloads_are_neither_the_hosts_nor_beyond_the_last() {
        let parse = |text: &str| Config::parse(&format!("[profiles.default]\n{text}"));
        let range = |text: &str| parse(text).map(|(config, _)| config.own_users);
        assert_eq!(range("usernsIds = 65536"), Ok(IdRange { first: 524_288, count: 65_536 }));
        assert_eq!(range("usernsFirstId = 4294901758"), Ok(IdRange { first: 4_294_901_758, count: 65_536 }),);
        for bad in
            ["usernsFirstId = 1000", "usernsFirstId = 4294901759", "usernsIds = 65535", "usernsIds = -1"]
        {
            assert!(range(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn an_error_names_its_line_and_never_shows_a_password() {
        for damaged in ["'hunter2", "'hunter2' x", "\"hunter2\\q\"", "7264327", "['hunter2']"] {
            let text = format!("[registries.r]\nusername = 'u'\npassword = {damaged}\n");
            let error = Config::parse(&text).expect_err(damaged).to_string();
            assert!(!error.contains("hunter2") && !error.contains("7264327"), "{error}");
        }
        let misplaced =
            Config::parse("[registries]\npassword = 'hunter2'").expect_err("no table").to_string();
        assert_eq!(misplaced, "configuration: expected struct Registry in `registries.password`");
        let error = Config::parse("a = 1\nb = ").expect_err("no value").to_string();
        assert!(error.starts_with("configuration: line 2: "), "{error}");
    }

    #[test]
    fn a_password_is_never_shown() {
        let text = "[registries.'r:1']\nusername = 'u'\npassword = 'hunter2'";
        let (config, _) = Config::parse(text).expect("parses");
        assert!(!format!("{config:?}").contains("hunter2"));
        assert_eq!(config.registries["r:1"].password.as_ref().map(Secret::expose), Some("hunter2"));
    }
}

//! An image's configuration (OCI image-spec 1.1, config.md). Only what says how to run it and what its
//! layers unpack to is read; labels, volumes, exposed ports and history have no effect.

use crate::manifest::ManifestError;
use edgelet_types::image::RunConfig;
use edgelet_types::{Digest, Platform, UnixMillis, limits};
use serde::Deserialize;

/// What we keep of an image's configuration.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct ImageConfig {
    pub(crate) platform: Platform,
    pub(crate) created: Option<UnixMillis>,
    pub(crate) run: RunConfig,
    /// Digests of the unpacked layers, lowest first.
    pub(crate) diff_ids: Vec<Digest>,
}

impl ImageConfig {
    /// Parses a configuration that belongs to a manifest with `layers` layers.
    pub(crate) fn parse(bytes: &[u8], layers: usize) -> Result<Self, ManifestError> {
        let malformed = |cause: String| ManifestError::Malformed { what: "configuration", cause };
        let wire: Wire = serde_json::from_slice(bytes).map_err(|error| malformed(error.to_string()))?;
        if wire.rootfs.kind != "layers" {
            return Err(malformed(format!("rootfs.type is {:?}, want \"layers\"", wire.rootfs.kind)));
        }
        let diff_ids = wire.rootfs.diff_ids.unwrap_or_default();
        if diff_ids.len() != layers {
            let text = format!("{layers} layers, and a configuration for {}", diff_ids.len());
            return Err(ManifestError::Contradiction(text));
        }
        if layers > limits::IMAGE_LAYERS {
            let (count, limit) = (layers as u64, limits::IMAGE_LAYERS as u64);
            return Err(ManifestError::TooMany { what: "layers", count, limit });
        }
        let platform = match wire.variant.filter(|variant| !variant.is_empty()) {
            Some(variant) => format!("{}/{}/{variant}", wire.os, wire.architecture),
            None => format!("{}/{}", wire.os, wire.architecture),
        };
        let platform = Platform::parse(&platform).map_err(|error| malformed(error.to_string()))?;
        let created = wire.created.as_deref().and_then(UnixMillis::parse);
        let run = wire.config.unwrap_or_default().into_run_config()?;
        Ok(Self { platform, created, run, diff_ids })
    }
}

#[derive(Deserialize)]
struct Wire {
    architecture: String,
    os: String,
    variant: Option<String>,
    created: Option<String>,
    config: Option<WireRun>,
    rootfs: WireRootfs,
}

#[derive(Deserialize)]
struct WireRootfs {
    #[serde(rename = "type")]
    kind: String,
    diff_ids: Option<Vec<Digest>>,
}

#[derive(Deserialize, Default)]
#[serde(rename_all = "PascalCase", default)]
struct WireRun {
    env: Option<Vec<String>>,
    entrypoint: Option<Vec<String>>,
    cmd: Option<Vec<String>>,
    working_dir: Option<String>,
    user: Option<String>,
    stop_signal: Option<String>,
}

impl WireRun {
    fn into_run_config(self) -> Result<RunConfig, ManifestError> {
        let given = |text: Option<String>| text.filter(|text| !text.is_empty());
        let run = RunConfig {
            env: self.env.unwrap_or_default(),
            entrypoint: self.entrypoint.unwrap_or_default(),
            command: self.cmd.unwrap_or_default(),
            working_dir: given(self.working_dir),
            user: given(self.user),
            stop_signal: given(self.stop_signal),
        };
        // None of these can be handed to a program with a zero byte inside.
        let lists = run.env.iter().chain(&run.entrypoint).chain(&run.command);
        let mut texts = lists.chain(&run.working_dir).chain(&run.user).chain(&run.stop_signal);
        match texts.any(|text| text.contains('\0')) {
            true => Err(ManifestError::Malformed {
                what: "configuration",
                cause: "a text has a zero byte in it".to_owned(),
            }),
            false => Ok(run),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::{Value, json};

    type Case = (fn(&mut Value), &'static str);
    const D: &str = "sha256:e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855";

    fn config() -> Value {
        json!({
            "architecture": "arm", "os": "linux", "variant": "v7", "created": "2026-09-21T14:13:20.123Z",
            "config": {"Env": ["A=b"], "Cmd": ["sh"], "WorkingDir": "", "User": "0:0",
                       "Labels": {"x": "y"}, "Volumes": {"/etc": {}}, "Entrypoint": null},
            "rootfs": {"type": "layers", "diff_ids": [D]}, "history": [{}],
        })
    }

    fn parse(value: &Value) -> Result<ImageConfig, ManifestError> {
        ImageConfig::parse(value.to_string().as_bytes(), 1)
    }

    #[test]
    fn what_matters_is_read_and_the_rest_is_not() {
        let parsed = parse(&config()).expect("valid");
        assert_eq!(parsed.platform.to_string(), "linux/arm/v7");
        assert_eq!(parsed.created, Some(UnixMillis(1_790_000_000_123)));
        let run = RunConfig {
            env: vec!["A=b".to_owned()],
            command: vec!["sh".to_owned()],
            user: Some("0:0".to_owned()),
            ..RunConfig::default()
        };
        assert_eq!(parsed.run, run);
    }

    #[test]
    fn contradictions_are_refused() {
        let cases: Vec<Case> = vec![
            (|c| c["rootfs"]["diff_ids"] = json!([]), "1 layers, and a configuration for 0"),
            (|c| c["rootfs"]["type"] = json!("tree"), "want \"layers\""),
            (|c| c["os"] = json!("a b"), "platform"),
            (|c| c["config"]["Env"] = json!(["A=\u{0}"]), "zero byte"),
            (|c| c["rootfs"] = json!(7), "invalid type"),
        ];
        for (change, want) in cases {
            let mut value = config();
            change(&mut value);
            let error = parse(&value).expect_err(want).to_string();
            assert!(error.contains(want), "{error}");
        }
    }
}

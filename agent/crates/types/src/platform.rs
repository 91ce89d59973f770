//! The platform of an image (OCI image-spec 1.1, image-index.md, "platform").

use serde::{Deserialize, Serialize};
use std::fmt;

/// Operating system, architecture and variant in the words of Go's `GOOS`, `GOARCH` and the image-spec.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Platform {
    /// Always `linux` for an image that we can run.
    pub os: String,
    /// `amd64`, `arm64`, `arm`, `riscv64`, …
    pub architecture: String,
    /// `v6`, `v7`, `v8`, or nothing.
    pub variant: Option<String>,
}

/// Why a text is not a platform.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("platform {0:?}: want os/architecture or os/architecture/variant, such as linux/arm64")]
pub struct PlatformError(String);

impl Platform {
    /// Parses `os/arch[/variant]`.
    pub fn parse(text: &str) -> Result<Self, PlatformError> {
        let error = || PlatformError(text.chars().take(80).collect());
        let word = |part: &str| {
            let good = !part.is_empty()
                && part.len() <= 32
                && part.bytes().all(|b| b.is_ascii_alphanumeric() || b"._-".contains(&b));
            good.then(|| part.to_ascii_lowercase()).ok_or_else(error)
        };
        let mut parts = text.split('/');
        let os = word(parts.next().unwrap_or_default())?;
        let architecture = word(parts.next().unwrap_or_default())?;
        let variant = parts.next().map(word).transpose()?;
        if parts.next().is_some() {
            return Err(error());
        }
        Ok(Self { os, architecture, variant })
    }

    /// The platform that this program was built for, which is the one it runs images of.
    pub fn host() -> Self {
        let (architecture, variant) = match std::env::consts::ARCH {
            "x86_64" => ("amd64", None),
            "aarch64" => ("arm64", Some("v8")),
            // The only 32-bit Arm target that we ship is armv7 with hardware floats.
            "arm" => ("arm", Some("v7")),
            other => (other, None),
        };
        Self {
            os: "linux".to_owned(),
            architecture: architecture.to_owned(),
            variant: variant.map(str::to_owned),
        }
    }

    /// How well an image for `self` runs on `host`: `None` not at all, and the larger the better.
    ///
    /// A missing variant means the baseline of the architecture (`arm64` is `v8`, `arm` is `v7` by the
    /// convention of the image-spec); an Arm host also runs older variants, the newest of them preferred.
    pub fn fit(&self, host: &Platform) -> Option<u32> {
        if self.os != host.os || self.architecture != host.architecture {
            return None;
        }
        let level = |platform: &Platform| {
            let default = match platform.architecture.as_str() {
                "arm64" => "v8",
                "arm" => "v7",
                _ => "",
            };
            let variant = platform.variant.as_deref().unwrap_or(default);
            variant.strip_prefix('v').and_then(|n| n.parse::<u32>().ok())
        };
        match (level(self), level(host)) {
            (Some(image), Some(host)) => (image <= host).then(|| image + 1),
            _ => (self.variant == host.variant || self.variant.is_none()).then_some(1),
        }
    }
}

impl fmt::Display for Platform {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.os, self.architecture)?;
        match &self.variant {
            Some(variant) => write!(f, "/{variant}"),
            None => Ok(()),
        }
    }
}

impl TryFrom<String> for Platform {
    type Error = PlatformError;
    fn try_from(text: String) -> Result<Self, PlatformError> {
        Self::parse(&text)
    }
}

impl From<Platform> for String {
    fn from(platform: Platform) -> String {
        platform.to_string()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn platform(text: &str) -> Platform {
        Platform::parse(text).expect(text)
    }

    #[test]
    fn an_arm_host_prefers_the_newest_variant_it_can_run() {
        let host = platform("linux/arm/v7");
        assert!(platform("linux/arm/v7").fit(&host) > platform("linux/arm/v6").fit(&host));
        assert_eq!(platform("linux/arm/v8").fit(&host), None);
        assert_eq!(platform("linux/arm/v4294967295").fit(&host), None);
        assert_eq!(platform("linux/arm").fit(&host), platform("linux/arm/v7").fit(&host));
    }

    #[test]
    fn arm64_with_and_without_variant_are_the_same() {
        let host = platform("linux/arm64/v8");
        assert_eq!(platform("linux/arm64").fit(&host), platform("linux/arm64/v8").fit(&host));
        assert_eq!(platform("linux/amd64").fit(&host), None);
    }

    #[test]
    fn nonsense_is_refused() {
        for bad in ["", "linux", "linux/", "/arm", "linux/arm/v7/x", "linux/a b"] {
            assert!(Platform::parse(bad).is_err(), "{bad}");
        }
    }
}

//! Which program this is.

use edgelet_api::node::Version;

/// As set by the build; `unknown` where the sources were no checkout.
pub fn version() -> Version {
    Version {
        version: env!("CARGO_PKG_VERSION").to_owned(),
        build_time: option_env!("EDGELET_BUILD_TIME").unwrap_or("unknown").to_owned(),
        git_commit: option_env!("EDGELET_GIT_COMMIT").unwrap_or("unknown").to_owned(),
    }
}

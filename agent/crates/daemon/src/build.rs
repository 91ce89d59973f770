//! Which program this is. `cargo xtask dist` and the layer's recipe set what the sources do not say.

use edgelet_api::node::Version;

/// Semantic version.
pub const VERSION: &str = env!("CARGO_PKG_VERSION");
/// The time of the commit that it was built from, RFC 3339; `unknown` where nobody said.
pub const BUILD_TIME: &str = match option_env!("EDGELET_BUILD_TIME") {
    Some(time) => time,
    None => "unknown",
};
/// The commit that it was built from; `unknown` where nobody said.
pub const GIT_COMMIT: &str = match option_env!("EDGELET_GIT_COMMIT") {
    Some(commit) => commit,
    None => "unknown",
};

/// The same for the API.
pub fn version() -> Version {
    Version {
        version: VERSION.to_owned(),
        build_time: BUILD_TIME.to_owned(),
        git_commit: GIT_COMMIT.to_owned(),
    }
}

//! A configuration to start from (`edgelet-oci spec`).

use super::arguments::{Arguments, Known, UsageError};
use super::verbs::{io_error, usage};
use serde_json::{Value, json};
use std::fs::OpenOptions;
use std::io::Write;
use std::path::Path;

const SPEC: Known = Known { flags: &["rootless"], values: &["bundle", "b"] };

/// Writes `config.json` into the bundle, unless there is one.
pub(super) fn spec(words: &[String]) -> Result<u8, String> {
    let arguments = Arguments::parse(words, &SPEC).map_err(usage)?;
    if let Some(extra) = arguments.operands.first() {
        return Err(usage(UsageError::Unexpected(extra.clone())));
    }
    let (uid, gid) = (nix::unistd::geteuid().as_raw(), nix::unistd::getegid().as_raw());
    let template = if arguments.has("rootless") { rootless(template(), uid, gid) } else { template() };
    let path = Path::new(arguments.either("bundle", "b").unwrap_or(".")).join("config.json");
    let doing = format!("write {}", path.display());
    let text = serde_json::to_string_pretty(&template).map_err(|error| error.to_string())?;
    // Never over one that somebody has written.
    let file = OpenOptions::new().write(true).create_new(true).open(path);
    let written = file.and_then(|mut file| writeln!(file, "{text}"));
    written.map_err(io_error(&doing))?;
    Ok(0)
}

fn template() -> Value {
    serde_json::from_slice(include_bytes!("template.json")).expect("a document of ours")
}

/// For a caller who is not root: in a user namespace of its own, where it is root and nobody else exists. Groups and
/// limits are left to whoever has rights to them, and so is the host's network.
fn rootless(mut template: Value, uid: u32, gid: u32) -> Value {
    let linux = &mut template["linux"];
    linux["resources"] = json!({});
    linux["uidMappings"] = json!([{"containerID": 0, "hostID": uid, "size": 1}]);
    linux["gidMappings"] = json!([{"containerID": 0, "hostID": gid, "size": 1}]);
    if let Some(namespaces) = linux["namespaces"].as_array_mut() {
        namespaces.push(json!({"type": "user"}));
    }
    template
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::Config;

    #[test]
    fn both_templates_are_valid() {
        for template in [template(), rootless(template(), 1000, 1000)] {
            let parsed = Config::parse(template.to_string().into_bytes(), "/bundle".into());
            assert!(parsed.is_ok(), "{:?}", parsed.err());
        }
    }
}

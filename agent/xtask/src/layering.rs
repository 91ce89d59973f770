//! Intent flows down, facts flow up, nothing flows sideways: the table of allowed dependencies.

use crate::run::{cargo, output};
use anyhow::{Context, Result, bail};
use serde::Deserialize;
use std::collections::BTreeMap;

const GROUND: &[&str] = &["edgelet-types", "edgelet-sys"];

/// What each crate may use of ours outside its tests. An entry added here is a design change.
fn allowed(package: &str) -> Option<&'static [&'static str]> {
    Some(match package {
        "edgelet-types" => &[],
        "edgelet-sys" => &["edgelet-types"],
        "edgelet-oci" | "edgelet-image" | "edgelet-store" => GROUND,
        "edgelet-engine" => &["edgelet-types"],
        "edgelet-api" => &["edgelet-engine", "edgelet-types"],
        "edgelet-cli" => &["edgelet-types", "edgelet-api"],
        "edgelet-shim" => &["edgelet-oci", "edgelet-sys", "edgelet-types"],
        "edgelet-daemon" => &[
            "edgelet-types",
            "edgelet-sys",
            "edgelet-oci",
            "edgelet-image",
            "edgelet-store",
            "edgelet-engine",
            "edgelet-api",
            "edgelet-shim",
        ],
        "edgelet" => &["edgelet-cli", "edgelet-daemon", "edgelet-oci", "edgelet-shim", "edgelet-types"],
        "hello" => &[],
        // Tests only: nothing lists it but under [dev-dependencies].
        "edgelet-testkit" => GROUND,
        "xtask" => &["edgelet-types"],
        _ => return None,
    })
}

/// Where tokio and warp may appear: at the edges only.
const ASYNC: &[&str] = &["edgelet-api", "edgelet-daemon"];

#[derive(Deserialize)]
struct Metadata {
    packages: Vec<Package>,
}

#[derive(Deserialize)]
struct Package {
    name: String,
    dependencies: Vec<Dependency>,
}

#[derive(Deserialize)]
struct Dependency {
    name: String,
    kind: Option<String>,
}

/// Compares the manifests of the workspace with the table.
pub fn check() -> Result<()> {
    let text = output(&mut cargo(&["metadata", "--no-deps", "--format-version=1", "--locked"]))?;
    let metadata: Metadata = serde_json::from_str(&text).context("read cargo metadata")?;
    let wrong = violations(&metadata);
    if !wrong.is_empty() {
        bail!("layering:\n  {}", wrong.join("\n  "));
    }
    println!("layering: {} crates follow the table", metadata.packages.len());
    Ok(())
}

fn violations(metadata: &Metadata) -> Vec<String> {
    let ours: BTreeMap<&str, &Package> = metadata.packages.iter().map(|p| (p.name.as_str(), p)).collect();
    let mut wrong = Vec::new();
    for (name, package) in &ours {
        let Some(allowed) = allowed(name) else {
            wrong.push(format!("{name}: not in the table"));
            continue;
        };
        for dependency in package.dependencies.iter().filter(|d| d.kind.as_deref() != Some("dev")) {
            let used = dependency.name.as_str();
            if ours.contains_key(used) && !allowed.contains(&used) {
                wrong.push(format!("{name} -> {used}: not allowed"));
            }
            if ["tokio", "warp", "hyper"].contains(&used) && !ASYNC.contains(name) {
                wrong.push(format!("{name} -> {used}: async belongs to {}", ASYNC.join(", ")));
            }
        }
    }
    wrong
}

#[cfg(test)]
mod tests {
    use super::*;

    fn package(name: &str, uses: &[(&str, Option<&str>)]) -> Package {
        let dependency = |(name, kind): &(&str, Option<&str>)| Dependency {
            name: (*name).into(),
            kind: kind.map(Into::into),
        };
        Package { name: name.into(), dependencies: uses.iter().map(dependency).collect() }
    }

    #[test]
    fn sideways_upward_and_async_edges_are_found() {
        let packages = vec![
            package("edgelet-types", &[]),
            package("edgelet-sys", &[("edgelet-types", None)]),
            package("edgelet-image", &[("edgelet-store", None), ("tokio", None), ("edgelet-sys", None)]),
            package("edgelet-store", &[("edgelet-image", Some("dev"))]),
            package("stranger", &[]),
        ];
        assert_eq!(
            violations(&Metadata { packages }),
            [
                "edgelet-image -> edgelet-store: not allowed",
                "edgelet-image -> tokio: async belongs to edgelet-api, edgelet-daemon",
                "stranger: not in the table",
            ]
        );
    }
}

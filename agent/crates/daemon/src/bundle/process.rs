//! What is executed: arguments and environment (OCI image-spec 1.1, conversion.md).

use super::spec::{BundleError, Facts};
use edgelet_types::Workload;
use edgelet_types::image::RunConfig;
use edgelet_types::workload::{Network, Source};

const DEFAULT_PATH: &str = "PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";

/// The command line: an entrypoint of the workload replaces the image's whole command line; a command of
/// the workload replaces only the image's command.
pub fn arguments(workload: &Workload, image: &RunConfig) -> Result<Vec<String>, BundleError> {
    let spec = &workload.spec;
    let (entrypoint, fallback) = match spec.entrypoint.is_empty() {
        true => (&image.entrypoint, image.command.as_slice()),
        false => (&spec.entrypoint, [].as_slice()),
    };
    let command = if spec.command.is_empty() { fallback } else { &spec.command };
    let arguments: Vec<String> = entrypoint.iter().chain(command).cloned().collect();
    if arguments.is_empty() {
        return Err(BundleError::NoCommand(spec.image.clone()));
    }
    Ok(arguments)
}

/// The environment: the image's, then the node's, then the workload's own; the later value wins. The
/// `EDGELET_*` identity goes last, because nobody may claim another one.
pub fn environment(workload: &Workload, image: &RunConfig, facts: &Facts<'_>) -> Vec<String> {
    let scope = match (workload.spec.network, workload.source) {
        (Network::Host, _) | (_, Source::Managed) => "managed",
        (_, Source::Local | Source::Controlplane) => "local",
    };
    let identity = [
        ("EDGELET_MICROSERVICE_UID", workload.id.as_str()),
        ("EDGELET_MICROSERVICE_NAME", workload.name.as_str()),
        ("EDGELET_APPLICATION_NAME", workload.application.as_str()),
        ("EDGELET_SCOPE", scope),
        ("EDGELET_RUNTIME_ENGINE", "edgelet"),
        ("EDGELET_ROLE", "workload"),
    ];
    let own = workload.spec.env.iter().map(|(key, value)| (key.as_str(), value.as_str()));
    let mut env = Environment::default();
    env.set_line(DEFAULT_PATH);
    env.set("HOSTNAME", facts.hostname);
    env.set("HOME", &facts.identity.home);
    image.env.iter().for_each(|line| env.set_line(line));
    if !env.has("TZ") {
        env.set("TZ", facts.time_zone);
    }
    own.chain(identity).for_each(|(key, value)| env.set(key, value));
    env.0.into_iter().map(|(key, value)| format!("{key}={value}")).collect()
}

/// Keeps the order in which names first came up.
#[derive(Default)]
struct Environment(Vec<(String, String)>);

impl Environment {
    fn has(&self, key: &str) -> bool {
        self.0.iter().any(|(known, _)| known == key)
    }

    fn set(&mut self, key: &str, value: &str) {
        match self.0.iter_mut().find(|(known, _)| known == key) {
            Some((_, old)) => value.clone_into(old),
            None => self.0.push((key.to_owned(), value.to_owned())),
        }
    }

    /// An image's `KEY=value`. A line without a value means an empty one.
    fn set_line(&mut self, line: &str) {
        let (key, value) = line.split_once('=').unwrap_or((line, ""));
        self.set(key, value);
    }
}

//! Kernel settings of the container's own namespaces (OCI runtime-spec 1.3, config-linux.md, "Sysctl").

use crate::error::{CreateError, During, SpawnError};
use crate::namespaces::Namespaces;
use crate::spec::Linux;
use edgelet_sys::namespace::Kind;
use edgelet_sys::procfs::Procfs;
use std::io;

/// Checks that each setting belongs to a namespace which the container does not share with the host.
pub(crate) fn check(linux: &Linux, namespaces: &Namespaces) -> Result<(), CreateError> {
    for key in linux.sysctl.iter().flat_map(|settings| settings.keys()) {
        let refused = |reason: &str| Err(CreateError::Config(format!("linux.sysctl: {key}: {reason}")));
        match owner(key) {
            None => return refused("is not a setting of a namespace"),
            Some(kind) if !namespaces.has(kind) => {
                return refused(&format!("needs a {} namespace of the container's own", kind.file()));
            }
            Some(_) => {}
        }
    }
    Ok(())
}

/// The same where it takes a look at the namespaces that are joined: a path may well lead to the host's.
pub(crate) fn check_joined(linux: &Linux, namespaces: &Namespaces) -> Result<(), SpawnError> {
    for key in linux.sysctl.iter().flat_map(|settings| settings.keys()) {
        let Some(kind) = owner(key) else { continue };
        if namespaces.is_callers(kind)? {
            let why = format!("the {} namespace is the host's", kind.file());
            return Err(io::Error::other(why)).during(format!("set {key}"));
        }
    }
    Ok(())
}

/// Writes the settings. The calling process is in the container's namespaces.
pub(crate) fn apply(linux: &Linux) -> Result<(), SpawnError> {
    let settings = linux.sysctl.iter().flatten().collect::<Vec<_>>();
    if settings.is_empty() {
        return Ok(());
    }
    let procfs = Procfs::open().during("open procfs")?;
    for (key, value) in settings {
        procfs.write(path(key), value).during(format!("set {key}"))?;
    }
    Ok(())
}

/// The namespace that a setting belongs to.
fn owner(key: &str) -> Option<Kind> {
    const IPC: &[&str] = &[
        "kernel.msgmax",
        "kernel.msgmnb",
        "kernel.msgmni",
        "kernel.sem",
        "kernel.shmall",
        "kernel.shmmax",
        "kernel.shmmni",
        "kernel.shm_rmid_forced",
    ];
    let key = key.replace('/', ".");
    let plain = |key: &str| {
        key.bytes().all(|b| b.is_ascii_alphanumeric() || b"._-:@".contains(&b)) && !key.contains("..")
    };
    match key.as_str() {
        key if !plain(key) => None,
        "kernel.domainname" | "kernel.hostname" => Some(Kind::Uts),
        key if IPC.contains(&key) || key.starts_with("fs.mqueue.") => Some(Kind::Ipc),
        key if key.starts_with("net.") => Some(Kind::Network),
        _ => None,
    }
}

/// sysctl(8): dots separate, unless the key is written with slashes; then a dot is part of a name, as
/// in the name of a VLAN device.
fn path(key: &str) -> String {
    match key.contains('/') {
        true => format!("sys/{key}"),
        false => format!("sys/{}", key.replace('.', "/")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_settings_of_namespaces_have_an_owner() {
        let cases = [
            ("kernel.shmmax", Some(Kind::Ipc)),
            ("fs.mqueue.msg_max", Some(Kind::Ipc)),
            ("net.ipv4.ip_forward", Some(Kind::Network)),
            ("net/ipv4/conf/eth0.1/forwarding", Some(Kind::Network)),
            ("kernel.hostname", Some(Kind::Uts)),
            ("kernel.panic", None),
            ("vm.swappiness", None),
            ("net/../kernel/panic", None),
            ("net.ipv4. ", None),
        ];
        for (key, want) in cases {
            assert_eq!(owner(key), want, "{key}");
        }
    }

    #[test]
    fn slashes_keep_dots_in_names() {
        assert_eq!(path("net.ipv4.ip_forward"), "sys/net/ipv4/ip_forward");
        assert_eq!(path("net/ipv4/conf/eth0.1/forwarding"), "sys/net/ipv4/conf/eth0.1/forwarding");
    }
}

//! What is mounted into the container: binds, memory file systems, devices.

use super::ManifestError;
use super::check::{absolute, at, mib, mount_point, not_supported};
use super::file;
use edgelet_types::WorkloadSpec;
use edgelet_types::workload::{Bind, Device, Tmpfs};
use std::collections::BTreeSet;

/// Checks the three lists and puts them into `spec`; no two may claim the same place.
pub(super) fn apply(
    volumes: Vec<file::Volume>,
    tmpfs: Vec<file::Tmpfs>,
    devices: Vec<file::Device>,
    spec: &mut WorkloadSpec,
) -> Result<(), ManifestError> {
    let mut taken = BTreeSet::new();
    let mut claim = |path: &str, place: &str| match taken.insert(place.to_owned()) {
        true => Ok(()),
        false => Err(at(path, format!("{place}: something else is mounted there already"))),
    };
    for (index, volume) in volumes.into_iter().enumerate() {
        let path = format!("spec.container.volumes[{index}]");
        let bind = bind(&path, &volume)?;
        claim(&path, &bind.container)?;
        spec.binds.push(bind);
    }
    for (index, entry) in tmpfs.into_iter().enumerate() {
        let path = format!("spec.container.tmpfs[{index}]");
        let tmpfs = memory(&path, &entry)?;
        claim(&path, &tmpfs.container)?;
        spec.tmpfs.push(tmpfs);
    }
    for (index, entry) in devices.into_iter().enumerate() {
        let path = format!("spec.container.devices[{index}]");
        let device = device(&path, entry)?;
        claim(&path, &device.container)?;
        spec.devices.push(device);
    }
    Ok(())
}

fn bind(path: &str, volume: &file::Volume) -> Result<Bind, ManifestError> {
    match volume.kind.as_deref().unwrap_or("bind").to_ascii_lowercase().as_str() {
        "bind" => {}
        kind @ ("volume" | "volumemount") => {
            return Err(not_supported(format!("{path}.type: {kind}"), "; bind is"));
        }
        other => return Err(at(format!("{path}.type"), format!("{other:?}: must be bind or volume"))),
    }
    if volume.scope.is_some() {
        return Err(at(format!("{path}.scope"), "is for volumes; a bind has none"));
    }
    Ok(Bind {
        host: absolute(&format!("{path}.hostDestination"), &volume.host_destination)?,
        container: mount_point(&format!("{path}.containerDestination"), &volume.container_destination)?,
        read_only: match volume.access_mode.as_deref() {
            None | Some("" | "rw") => false,
            Some("ro") => true,
            Some(other) => {
                return Err(at(format!("{path}.accessMode"), format!("{other:?}: must be rw or ro")));
            }
        },
    })
}

fn memory(path: &str, entry: &file::Tmpfs) -> Result<Tmpfs, ManifestError> {
    let mode = |text: &str| {
        u32::from_str_radix(text, 8)
            .ok()
            .filter(|mode| *mode <= 0o7777)
            .ok_or_else(|| at(format!("{path}.mode"), format!("{text:?}: must be octal, such as \"1777\"")))
    };
    Ok(Tmpfs {
        container: mount_point(&format!("{path}.containerPath"), &entry.container_path)?,
        bytes: entry.size.map(|size| mib(&format!("{path}.size"), size)).transpose()?,
        mode: entry.mode.as_deref().map(mode).transpose()?,
    })
}

fn device(path: &str, entry: file::Device) -> Result<Device, ManifestError> {
    let host = absolute(&format!("{path}.hostPath"), &entry.host_path)?;
    if !host.starts_with("/dev/") {
        return Err(at(format!("{path}.hostPath"), format!("{host:?}: must be below /dev")));
    }
    let access = entry.permissions.filter(|text| !text.is_empty()).unwrap_or_else(|| "rwm".to_owned());
    let distinct: BTreeSet<char> = access.chars().collect();
    if distinct.len() != access.len() || !access.chars().all(|c| "rwm".contains(c)) {
        return Err(at(format!("{path}.permissions"), format!("{access:?}: must be of r, w and m")));
    }
    Ok(Device {
        host,
        container: mount_point(&format!("{path}.containerPath"), &entry.container_path)?,
        access,
    })
}

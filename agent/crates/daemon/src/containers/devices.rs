//! Host device nodes for a container.

use crate::bundle::DeviceNode;
use edgelet_types::{Fault, Reason, WorkloadSpec};
use std::fs;
use std::io;
use std::os::unix::fs::{FileTypeExt, MetadataExt};
use std::path::Path;

/// The nodes that a workload gets: those it names, or all of `/dev` when it is privileged. A directory
/// means all nodes below it.
pub fn nodes(spec: &WorkloadSpec) -> Result<Vec<DeviceNode>, Fault> {
    let mut nodes = Vec::new();
    if spec.privileged {
        collect(Path::new("/dev"), "/dev", "rwm", &mut nodes).map_err(|error| fault("/dev", &error))?;
    }
    for device in &spec.devices {
        collect(Path::new(&device.host), &device.container, &device.access, &mut nodes)
            .map_err(|error| fault(&device.host, &error))?;
    }
    Ok(nodes)
}

/// The devices that the runtime makes in every container, and what is a mount of its own there.
const STANDARD: [&str; 9] = ["full", "null", "random", "tty", "urandom", "zero", "ptmx", "console", "pts"];

fn collect(host: &Path, container: &str, access: &str, nodes: &mut Vec<DeviceNode>) -> io::Result<()> {
    let metadata = fs::metadata(host)?;
    let kind = metadata.file_type();
    if kind.is_dir() {
        for entry in fs::read_dir(host)? {
            let entry = entry?;
            let name = entry.file_name();
            let Some(name) = name.to_str() else { continue };
            let of_its_own = host == Path::new("/dev") && STANDARD.contains(&name);
            let node = entry.file_type()?;
            if !of_its_own && (node.is_dir() || node.is_char_device() || node.is_block_device()) {
                collect(&entry.path(), &format!("{container}/{name}"), access, nodes)?;
            }
        }
        return Ok(());
    }
    let kind = match (kind.is_char_device(), kind.is_block_device()) {
        (true, _) => 'c',
        (_, true) => 'b',
        _ => return Err(io::Error::new(io::ErrorKind::InvalidInput, "not a device")),
    };
    nodes.push(DeviceNode {
        container: container.to_owned(),
        kind,
        major: nix::sys::stat::major(metadata.rdev()),
        minor: nix::sys::stat::minor(metadata.rdev()),
        mode: metadata.mode() & 0o7777,
        uid: metadata.uid(),
        gid: metadata.gid(),
        access: access.to_owned(),
    });
    Ok(())
}

fn fault(path: &str, error: &io::Error) -> Fault {
    let reason = match error.kind() {
        io::ErrorKind::NotFound | io::ErrorKind::InvalidInput => Reason::InvalidInput,
        _ => Reason::CreateFailed,
    };
    Fault::chain(reason, error).context(format_args!("device {path}"))
}

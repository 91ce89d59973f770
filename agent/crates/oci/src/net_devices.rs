//! Handing network devices of the host to a container (OCI runtime-spec 1.3, config-linux.md, "Network Devices").

use crate::error::{During, SpawnError};
use crate::namespaces::{Detour, Namespaces};
use crate::spec::Linux;
use edgelet_sys::namespace::{self, Kind};
use edgelet_sys::netlink::{self, Route};
use std::collections::BTreeMap;
use std::os::fd::AsFd;
use std::path::Path;

/// The devices by their names here, with their names there. Nothing is moved by asking for none.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct NetDevices(BTreeMap<String, String>);

impl NetDevices {
    pub(crate) fn parse(linux: &Linux, namespaces: &Namespaces) -> Result<Self, String> {
        let mut devices = BTreeMap::new();
        for (here, device) in linux.net_devices.iter().flatten() {
            let there = device.name().as_ref().filter(|name| !name.is_empty()).unwrap_or(here);
            for name in [here, there] {
                if !is_name(name) {
                    return Err(format!("linux.netDevices: {name:?} is not the name of a device"));
                }
            }
            devices.insert(here.clone(), there.clone());
        }
        match devices.is_empty() || namespaces.has(Kind::Network) {
            true => Ok(Self(devices)),
            false => Err("linux.netDevices needs a network namespace of the container's own".to_owned()),
        }
    }

    /// Moves them to where the process `pid` is, and switches them on there with the addresses that were given to
    /// them for good.
    pub(crate) fn hand_over(&self, pid: i32) -> Result<(), SpawnError> {
        if self.0.is_empty() {
            return Ok(());
        }
        let path = Path::new("/proc").join(pid.to_string()).join("ns/net");
        let target =
            namespace::open(&path, Kind::Network).during("open the container's network namespace")?;
        for (here, there) in &self.0 {
            let step = || format!("move network device {here}");
            let device = netlink::device(here).during(step())?;
            let route = Route::open().during(step())?;
            let addresses = route.addresses(device).during(step())?;

            let mut inside = Detour::new();
            inside.enter(&target, Kind::Network).during(step())?;
            let before = netlink::devices().during(step())?;
            inside.leave()?;
            route.move_device(device, target.as_fd(), there).during(step())?;

            let mut inside = Detour::new();
            inside.enter(&target, Kind::Network).during(step())?;
            // A name with a placeholder was chosen by the kernel, and a number may have been taken.
            let name = netlink::devices().during(step())?.into_iter().find(|name| !before.contains(name));
            let device = netlink::device(name.as_deref().unwrap_or(there)).during(step())?;
            let route = Route::open().during(step())?;
            for address in addresses.iter().filter(|address| address.is_permanent_and_global()) {
                route.add_address(device, address).during(step())?;
            }
            route.set_up(device).during(step())?;
            inside.leave()?;
        }
        Ok(())
    }
}

/// What the kernel takes (`dev_valid_name`), with a template as the specification has it.
fn is_name(name: &str) -> bool {
    const LONGEST: usize = 15;
    let plain = name.strip_suffix("%d").unwrap_or(name);
    let is_good = |byte: u8| byte.is_ascii_graphic() && !b"/:%".contains(&byte);
    name.len() <= LONGEST && !plain.is_empty() && ![".", ".."].contains(&name) && plain.bytes().all(is_good)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_those_that_the_kernel_takes() {
        for good in ["eth0", "a", "very-long-name0", "eth%d", "br0.1"] {
            assert!(is_name(good), "{good}");
        }
        for bad in ["", ".", "..", "a/b", "a b", "a:b", "sixteen-bytes-xx", "%d", "a%db", "a%"] {
            assert!(!is_name(bad), "{bad}");
        }
    }
}

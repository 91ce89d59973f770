//! The image store against real registries, real archives, hostile ones, full disks and sudden death.
//!
//! One program, so that everything is linked once. Needs root and the Debian packages docker-registry,
//! skopeo, umoci, busybox-static, openssl and apache2-utils.

mod archives;
mod crash;
mod hostile;
mod layers;
mod mounts;
mod registry;
mod resume;
mod space;
mod store;
mod support;

//! What a caller may ask of `create` and `exec` beyond the configuration.

use crate::Id;
use crate::spec;
use std::os::fd::OwnedFd;
use std::path::PathBuf;

/// How a container is created.
#[derive(Debug)]
pub struct CreateOptions {
    /// Its name; unique below one state root.
    pub id: Id,
    /// The directory that holds `config.json`, and that a relative root path starts from.
    pub bundle: PathBuf,
    /// Who gets the terminal's master; needed exactly when the configuration asks for a terminal.
    pub console: Option<ConsoleSocket>,
    /// A file that gets the host process id, as a bare number.
    pub pid_file: Option<PathBuf>,
    /// How many descriptors from 3 on the program inherits; all others are closed.
    pub preserve_fds: u32,
    /// Further entries of the program's environment, such as those that tell it of descriptors.
    pub env: Vec<String>,
    /// Enter the root by moving it over the host's, where pivot_root(2) does not work: below an initramfs.
    pub no_pivot: bool,
    /// Keep the caller's session keyring instead of joining a new one.
    pub keep_keyring: bool,
    /// Have the service manager make the control groups; the configuration then names a scope
    /// (`SLICE:PREFIX:NAME`).
    pub systemd_cgroup: bool,
    /// Make no control groups at all; limits are refused then.
    pub without_cgroups: bool,
    /// Go on without control groups where the caller may not make any and no limit is asked for. By default so for
    /// whoever is not root of the machine.
    pub rootless: Option<bool>,
}

impl CreateOptions {
    /// The options of a plain `create ID --bundle BUNDLE`.
    pub fn new(id: Id, bundle: impl Into<PathBuf>) -> Self {
        Self {
            id,
            bundle: bundle.into(),
            console: None,
            pid_file: None,
            preserve_fds: 0,
            env: Vec::new(),
            no_pivot: false,
            keep_keyring: false,
            systemd_cgroup: false,
            without_cgroups: false,
            rootless: None,
        }
    }
}

/// Where the master side of a new terminal is sent, in one `SCM_RIGHTS` message.
#[derive(Debug)]
pub enum ConsoleSocket {
    /// A listening stream socket in the file system; the path may be longer than 108 bytes.
    Path(PathBuf),
    /// A connected stream socket.
    Connected(OwnedFd),
}

/// How a further process is started in a running container.
#[derive(Debug)]
pub struct ExecOptions {
    /// What is run.
    pub process: ExecProcess,
    /// Who gets the terminal's master; needed exactly when the process asks for a terminal.
    pub console: Option<ConsoleSocket>,
    /// A file that gets the host process id, as a bare number.
    pub pid_file: Option<PathBuf>,
    /// How many descriptors from 3 on the program inherits; all others are closed.
    pub preserve_fds: u32,
    /// Go ahead although the container is paused; the process then starts when it is resumed.
    pub ignore_paused: bool,
    /// A group below the container's, which must exist; the container's own when absent.
    pub cgroup: Option<PathBuf>,
}

impl ExecOptions {
    /// The options of a plain `exec ID ARGS…`.
    pub fn new(process: ExecProcess) -> Self {
        Self { process, console: None, pid_file: None, preserve_fds: 0, ignore_paused: false, cgroup: None }
    }
}

/// What `exec` runs.
#[derive(Debug)]
pub enum ExecProcess {
    /// Exactly this; nothing is taken from the container's configuration.
    Full(Box<spec::Process>),
    /// The container's own process with some of it replaced.
    Like(Changes),
}

/// What `exec` replaces in the container's own process. The default replaces nothing but the program,
/// which must be given.
#[derive(Debug, Default)]
pub struct Changes {
    /// Program and arguments.
    pub args: Vec<String>,
    /// `NAME=value`, added to the configured environment; a later value for a name wins.
    pub env: Vec<String>,
    /// Absolute, inside; the configured one when absent.
    pub cwd: Option<PathBuf>,
    /// User and group id; the configured ones when absent.
    pub user: Option<(u32, Option<u32>)>,
    /// Groups added to the configured ones.
    pub additional_gids: Vec<u32>,
    /// Capabilities added to the bounding, effective and permitted sets; never to the inheritable set
    /// (CVE-2022-29162).
    pub capabilities: Vec<String>,
    /// Whether it gets a terminal.
    pub terminal: bool,
    /// Replaces the configured value when set.
    pub no_new_privileges: Option<bool>,
    /// Replaces the configured profile of AppArmor when set.
    pub apparmor_profile: Option<String>,
    /// Replaces the configured context of SELinux when set.
    pub selinux_label: Option<String>,
}

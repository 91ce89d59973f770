//! The distribution registry of Debian, run on a free port with storage of its own.

use crate::layout::OciLayout;
use crate::{run, write};
use std::io::{BufRead, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

/// A running registry; it ends with the test, however that ends.
pub struct Registry {
    process: Child,
    port: u16,
    /// Its configuration, certificates and storage.
    pub directory: tempfile::TempDir,
    tls: bool,
}

/// How the registry is to be reached.
#[derive(Default, Clone)]
pub struct Setup {
    /// HTTPS with a certificate that its own authority has signed.
    pub tls: bool,
    /// A YAML fragment for `auth:`; `DIR` stands for the registry's directory.
    pub auth: Option<String>,
}

impl Registry {
    /// Plain HTTP, anonymous.
    pub fn start() -> Self {
        Self::start_with(&Setup::default(), |_| {})
    }

    /// `prepare` may put files into the registry's directory first.
    pub fn start_with(setup: &Setup, prepare: impl FnOnce(&Path)) -> Self {
        let directory = tempfile::tempdir().expect("temporary directory");
        let path = directory.path().display().to_string();
        prepare(directory.path());
        let mut config = format!(
            "version: 0.1\nlog: {{level: info, accesslog: {{disabled: true}}}}\n\
             storage: {{filesystem: {{rootdirectory: {path}/storage}}}}\n"
        );
        config += "http:\n  addr: 127.0.0.1:0\n";
        if setup.tls {
            certificates(directory.path());
            config += &format!("  tls: {{certificate: {path}/server.pem, key: {path}/server.key}}\n");
        }
        if let Some(auth) = &setup.auth {
            config += &format!("auth:\n{}\n", auth.replace("DIR", &path));
        }
        write(directory.path().join("config.yml"), config);
        // Ends with the test's thread even if the test's process is killed.
        let mut process = Command::new("setpriv")
            .args(["--pdeathsig", "KILL", "docker-registry", "serve", &format!("{path}/config.yml")])
            .env_clear()
            .env("PATH", "/usr/bin:/bin")
            .stdout(Stdio::null())
            .stderr(Stdio::piped())
            .spawn()
            .expect("docker-registry starts");
        let port = listening_port(&mut process);
        Self { process, port, directory, tls: setup.tls }
    }

    /// Host and port as they stand in a reference.
    pub fn host(&self) -> String {
        format!("127.0.0.1:{}", self.port)
    }

    /// How edgelet reaches it.
    pub fn config(&self) -> edgelet_types::config::Registry {
        edgelet_types::config::Registry {
            insecure: !self.tls,
            ca: self.tls.then(|| self.directory.path().join("ca.pem").display().to_string()),
            ..Default::default()
        }
    }

    /// Copies an image there with skopeo. `source` is in skopeo's words, `options` are skopeo's.
    pub fn copy(&self, source: &str, target: &str, options: &[&str]) {
        let target = format!("docker://{}/{target}", self.host());
        let policy = self.directory.path().join("policy.json");
        write(&policy, r#"{"default":[{"type":"insecureAcceptAnything"}]}"#);
        let mut command = Command::new("skopeo");
        command.arg("--policy").arg(policy).args(["copy", "--quiet", "--dest-tls-verify=false"]);
        run(command.args(options).arg(source).arg(target));
    }

    /// Puts an image of a layout there, byte by byte as it is.
    pub fn push(&self, layout: &OciLayout, tag: &str, target: &str) {
        let source = format!("oci:{}:{tag}", layout.path().display());
        self.copy(&source, target, &["--all", "--preserve-digests"]);
    }

    /// The file in which the registry keeps a blob.
    pub fn blob_file(&self, digest: &edgelet_types::Digest) -> PathBuf {
        let hex = digest.to_hex();
        let blobs = self.directory.path().join("storage/docker/registry/v2/blobs/sha256");
        blobs.join(&hex[..2]).join(hex).join("data")
    }
}

impl Drop for Registry {
    fn drop(&mut self) {
        // It may be gone already, and there is nobody to tell.
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

/// Waits for the line in which the registry says its port, and then goes on reading, so that the pipe
/// never fills.
fn listening_port(process: &mut Child) -> u16 {
    let mut lines = BufReader::new(process.stderr.take().expect("piped")).lines();
    let mut seen = String::new();
    while let Some(Ok(line)) = lines.next() {
        let address = line.split("listening on 127.0.0.1:").nth(1);
        if let Some(port) = address.and_then(|text| text.split(|c: char| !c.is_ascii_digit()).next()) {
            std::thread::spawn(move || lines.map_while(Result::ok).for_each(drop));
            return port.parse().expect("a port");
        }
        seen += &format!("{line}\n");
    }
    panic!("docker-registry ended: {seen}");
}

/// An authority and a certificate for 127.0.0.1 signed by it.
fn certificates(directory: &Path) {
    let openssl = |args: &str| {
        let mut command = Command::new("openssl");
        run(command.current_dir(directory).args(args.split_whitespace()).stdin(Stdio::null()));
    };
    write(directory.join("san"), "subjectAltName=IP:127.0.0.1\nbasicConstraints=critical,CA:FALSE\n");
    let curve = "-newkey ec -pkeyopt ec_paramgen_curve:prime256v1 -nodes";
    openssl(&format!("req -x509 {curve} -keyout ca.key -out ca.pem -days 30 -subj /CN=test-authority"));
    openssl(&format!("req {curve} -keyout server.key -out server.csr -subj /CN=registry"));
    openssl(
        "x509 -req -in server.csr -CA ca.pem -CAkey ca.key -CAcreateserial -out server.pem -days 30 -extfile san",
    );
}

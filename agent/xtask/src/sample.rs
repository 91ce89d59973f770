//! The sample workload as an OCI image layout (image-spec 1.1, image-layout.md), made from our own
//! program alone: no network, no other tool.

use crate::dist;
use anyhow::{Context, Result, bail};
use edgelet_types::Digest;
use serde_json::{Value, json};
use std::fs;
use std::io::Write;
use std::path::Path;

/// The name that the image carries in its layout.
const NAME: &str = "docker.io/edgelet/hello:1";

/// Writes the layout to `dir`, which must not exist. With a program, an image of that for its architecture;
/// without, one for every architecture that `dist` has built, joined by an index.
pub fn write(dir: &Path, program: Option<&Path>) -> Result<()> {
    if dir.exists() {
        bail!("{}: exists already", dir.display());
    }
    let built = |arch: &dist::Arch| dist::dir(arch).join("hello");
    let programs: Vec<_> = match program {
        Some(program) => vec![program.to_owned()],
        None => dist::ALL.iter().map(built).filter(|program| program.exists()).collect(),
    };
    if programs.is_empty() {
        bail!("no program to put into the image: run `cargo xtask dist` first");
    }
    fs::create_dir_all(dir.join("blobs/sha256")).with_context(|| format!("create {}", dir.display()))?;
    let manifests = programs.iter().map(|program| image(dir, program)).collect::<Result<Vec<_>>>()?;
    let index = json!({
        "schemaVersion": 2,
        "mediaType": "application/vnd.oci.image.index.v1+json",
        "manifests": manifests,
    });
    let mut entry = blob(dir, "application/vnd.oci.image.index.v1+json", &serde_json::to_vec(&index)?)?;
    entry["annotations"] = json!({ "org.opencontainers.image.ref.name": NAME });
    let top = json!({ "schemaVersion": 2, "manifests": [entry] });
    put(&dir.join("index.json"), &serde_json::to_vec(&top)?)?;
    put(&dir.join("oci-layout"), br#"{"imageLayoutVersion":"1.0.0"}"#)?;
    println!("sample-image: {NAME} at {}", dir.display());
    Ok(())
}

fn image(dir: &Path, program: &Path) -> Result<Value> {
    let content = fs::read(program).with_context(|| format!("read {}", program.display()))?;
    let (architecture, variant) = platform(&content).with_context(|| program.display().to_string())?;
    let layer = layer(&content)?;
    let mut config = json!({
        "architecture": architecture,
        "os": "linux",
        "config": {
            "Entrypoint": ["/hello"],
            "Env": ["PATH=/", "PORT=8080"],
            "User": "65534:65534",
            "WorkingDir": "/",
        },
        "rootfs": { "type": "layers", "diff_ids": [Digest::of(&layer)] },
    });
    let mut platform = json!({ "architecture": architecture, "os": "linux" });
    if let Some(variant) = variant {
        config["variant"] = json!(variant);
        platform["variant"] = json!(variant);
    }
    let mut packed = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::best());
    packed.write_all(&layer)?;
    let manifest = json!({
        "schemaVersion": 2,
        "mediaType": "application/vnd.oci.image.manifest.v1+json",
        "config": blob(dir, "application/vnd.oci.image.config.v1+json", &serde_json::to_vec(&config)?)?,
        "layers": [blob(dir, "application/vnd.oci.image.layer.v1.tar+gzip", &packed.finish()?)?],
    });
    let mut entry = blob(dir, "application/vnd.oci.image.manifest.v1+json", &serde_json::to_vec(&manifest)?)?;
    entry["platform"] = platform;
    Ok(entry)
}

/// Architecture and variant, as the image-spec names them (image-index.md), of a program: `e_machine` of its ELF
/// header.
fn platform(program: &[u8]) -> Result<(&'static str, Option<&'static str>)> {
    if !program.starts_with(b"\x7fELF") {
        bail!("not an ELF program");
    }
    match program.get(18..20) {
        Some([62, 0]) => Ok(("amd64", None)),
        Some([183, 0]) => Ok(("arm64", Some("v8"))),
        Some([40, 0]) => Ok(("arm", Some("v7"))),
        Some([243, 0]) => Ok(("riscv64", None)),
        other => bail!("an architecture that edgelet is not built for: e_machine {other:?}"),
    }
}

/// The root file system: the program, and the users that it may run as. Times are zero, so that the
/// same program gives the same image.
fn layer(program: &[u8]) -> Result<Vec<u8>> {
    let mut tar = tar::Builder::new(Vec::new());
    for name in ["etc/", "tmp/"] {
        let mut header = header(tar::EntryType::Directory, 0, if name == "tmp/" { 0o1777 } else { 0o755 });
        tar.append_data(&mut header, name, std::io::empty())?;
    }
    let passwd: &[u8] = b"root:x:0:0:root:/:/hello\nnobody:x:65534:65534:nobody:/:/hello\n";
    for (name, content, mode) in [("etc/passwd", passwd, 0o644), ("hello", program, 0o755)] {
        let mut header = header(tar::EntryType::Regular, content.len(), mode);
        tar.append_data(&mut header, name, content)?;
    }
    Ok(tar.into_inner()?)
}

fn header(kind: tar::EntryType, size: usize, mode: u32) -> tar::Header {
    let mut header = tar::Header::new_ustar();
    header.set_entry_type(kind);
    header.set_size(size as u64);
    header.set_mode(mode);
    header.set_mtime(0);
    header.set_uid(0);
    header.set_gid(0);
    header
}

/// Stores a blob and gives its descriptor.
fn blob(dir: &Path, media_type: &str, bytes: &[u8]) -> Result<Value> {
    let digest = Digest::of(bytes);
    put(&dir.join("blobs/sha256").join(digest.to_hex()), bytes)?;
    Ok(json!({ "mediaType": media_type, "digest": digest, "size": bytes.len() }))
}

fn put(path: &Path, bytes: &[u8]) -> Result<()> {
    let mut file = fs::File::create(path).with_context(|| format!("create {}", path.display()))?;
    file.write_all(bytes).with_context(|| format!("write {}", path.display()))
}

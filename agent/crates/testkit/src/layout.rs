//! Images made byte by byte, so that a test decides about each of them. Written as an OCI layout
//! (OCI image-spec 1.1, image-layout.md).

use crate::write;
use edgelet_types::Digest;
use serde_json::{Value, json};
use std::io::Write;
use std::path::{Path, PathBuf};

/// How a layer is compressed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Codec {
    /// As it is.
    Plain,
    /// RFC 1952.
    Gzip,
    /// RFC 8878.
    Zstd,
}

impl Codec {
    /// The OCI media type of a layer in this form.
    pub fn media_type(self) -> &'static str {
        match self {
            Codec::Plain => "application/vnd.oci.image.layer.v1.tar",
            Codec::Gzip => "application/vnd.oci.image.layer.v1.tar+gzip",
            Codec::Zstd => "application/vnd.oci.image.layer.v1.tar+zstd",
        }
    }

    /// The bytes in this form.
    pub fn encode(self, bytes: &[u8]) -> Vec<u8> {
        match self {
            Codec::Plain => bytes.to_vec(),
            Codec::Gzip => {
                let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::default());
                encoder.write_all(bytes).expect("memory");
                encoder.finish().expect("memory")
            }
            Codec::Zstd => zstd::encode_all(bytes, 3).expect("memory"),
        }
    }
}

/// An archive under construction.
pub struct Tar(tar::Builder<Vec<u8>>);

impl Tar {
    /// An archive without members.
    pub fn new() -> Self {
        Self(tar::Builder::new(Vec::new()))
    }

    fn header(kind: tar::EntryType, mode: u32, size: usize) -> tar::Header {
        let mut header = tar::Header::new_gnu();
        header.set_entry_type(kind);
        header.set_mode(mode);
        header.set_size(size as u64);
        header.set_mtime(1_000_000_000);
        header.set_uid(0);
        header.set_gid(0);
        header
    }

    /// Any member, with its name as it is: also names that no honest tool would write.
    pub fn raw(mut self, mut header: tar::Header, path: &str, data: &[u8]) -> Self {
        let name = path.as_bytes();
        if name.len() <= 100 {
            header.as_old_mut().name[..name.len()].copy_from_slice(name);
        } else {
            self = self.long(b'L', name);
        }
        header.set_cksum();
        self.0.append(&header, data).expect("memory");
        self
    }

    fn long(mut self, kind: u8, text: &[u8]) -> Self {
        let mut header = Self::header(tar::EntryType::new(kind), 0, text.len());
        header.as_old_mut().name[..13].copy_from_slice(b"././@LongLink");
        header.set_cksum();
        self.0.append(&header, text).expect("memory");
        self
    }

    /// A file that all may read.
    pub fn file(self, path: &str, data: impl AsRef<[u8]>) -> Self {
        let data = data.as_ref();
        self.raw(Self::header(tar::EntryType::Regular, 0o644, data.len()), path, data)
    }

    /// An empty file of somebody.
    pub fn file_of(self, path: &str, uid: u64, gid: u64) -> Self {
        let mut header = Self::header(tar::EntryType::Regular, 0o644, 0);
        header.set_uid(uid);
        header.set_gid(gid);
        self.raw(header, path, b"")
    }

    /// A file that all may execute.
    pub fn program(self, path: &str, data: &[u8]) -> Self {
        self.raw(Self::header(tar::EntryType::Regular, 0o755, data.len()), path, data)
    }

    /// A directory; the name ends with a slash if the caller says so.
    pub fn dir(self, path: &str, mode: u32) -> Self {
        self.raw(Self::header(tar::EntryType::Directory, mode, 0), path, b"")
    }

    /// A symbolic link.
    pub fn symlink(self, path: &str, target: &str) -> Self {
        self.link(tar::EntryType::Symlink, path, target)
    }

    /// A hard link to an earlier member.
    pub fn hard_link(self, path: &str, target: &str) -> Self {
        self.link(tar::EntryType::Link, path, target)
    }

    fn link(mut self, kind: tar::EntryType, path: &str, target: &str) -> Self {
        let mut header = Self::header(kind, 0o777, 0);
        let name = target.as_bytes();
        if name.len() <= 100 {
            header.as_old_mut().linkname[..name.len()].copy_from_slice(name);
        } else {
            self = self.long(b'K', name);
        }
        self.raw(header, path, b"")
    }

    /// A device or pipe.
    pub fn node(self, kind: tar::EntryType, path: &str, major: u32, minor: u32) -> Self {
        let mut header = Self::header(kind, 0o600, 0);
        header.set_device_major(major).expect("gnu header");
        header.set_device_minor(minor).expect("gnu header");
        self.raw(header, path, b"")
    }

    /// PAX records for the next member.
    pub fn pax(mut self, records: &[(&str, &[u8])]) -> Self {
        self.0.append_pax_extensions(records.iter().copied()).expect("memory");
        self
    }

    /// PAX records for all members that follow.
    pub fn pax_for_all(self, records: &[(&str, &str)]) -> Self {
        let line = |(key, value): &(&str, &str)| {
            // A line says its own length, the digits of that included.
            let rest = key.len() + value.len() + 3;
            let length =
                (1..).find(|digits| (rest + digits).to_string().len() == *digits).unwrap_or(1) + rest;
            format!("{length} {key}={value}\n")
        };
        let text: String = records.iter().map(line).collect();
        let header = Self::header(tar::EntryType::XGlobalHeader, 0o644, text.len());
        self.raw(header, "pax_global_header", text.as_bytes())
    }

    /// The archive's bytes, with its end marks.
    pub fn done(self) -> Vec<u8> {
        self.0.into_inner().expect("memory")
    }
}

/// An image under construction: archives of its layers, lowest first.
#[derive(Clone)]
pub struct Image {
    /// Archives and their forms, lowest first.
    pub layers: Vec<(Vec<u8>, Codec)>,
    /// As in a platform, such as `arm64`.
    pub architecture: String,
    /// As in a platform, such as `v8`.
    pub variant: Option<String>,
    /// What stands under `config` in the configuration.
    pub config: Value,
}

impl Image {
    /// For the machine that runs the test.
    pub fn new() -> Self {
        let host = edgelet_types::Platform::host();
        let config = json!({"Cmd": ["/bin/true"], "Env": ["PATH=/bin"]});
        Self { layers: Vec::new(), architecture: host.architecture, variant: None, config }
    }

    /// The same image with one more layer on top.
    pub fn layer(mut self, tar: Vec<u8>, codec: Codec) -> Self {
        self.layers.push((tar, codec));
        self
    }

    /// The configuration's text.
    pub fn config_json(&self) -> Vec<u8> {
        let diff_ids: Vec<Digest> = self.layers.iter().map(|(tar, _)| Digest::of(tar)).collect();
        let mut config = json!({
            "architecture": self.architecture, "os": "linux", "config": self.config,
            "created": "2026-01-01T00:00:00Z", "rootfs": {"type": "layers", "diff_ids": diff_ids},
        });
        if let Some(variant) = &self.variant {
            config["variant"] = json!(variant);
        }
        config.to_string().into_bytes()
    }

    /// The blobs of the image, its manifest last.
    pub fn blobs(&self) -> Vec<Vec<u8>> {
        let config = self.config_json();
        let mut blobs: Vec<Vec<u8>> = self.layers.iter().map(|(tar, codec)| codec.encode(tar)).collect();
        let layer = |(blob, (_, codec)): (&Vec<u8>, &(Vec<u8>, Codec))| descriptor(codec.media_type(), blob);
        let layers: Vec<Value> = blobs.iter().zip(&self.layers).map(layer).collect();
        let manifest = json!({
            "schemaVersion": 2, "mediaType": OCI_MANIFEST,
            "config": descriptor("application/vnd.oci.image.config.v1+json", &config), "layers": layers,
        });
        blobs.push(config);
        blobs.push(manifest.to_string().into_bytes());
        blobs
    }
}

/// Media type of an image manifest.
pub const OCI_MANIFEST: &str = "application/vnd.oci.image.manifest.v1+json";
/// Media type of an index.
pub const OCI_INDEX: &str = "application/vnd.oci.image.index.v1+json";

/// The descriptor of a blob (OCI image-spec 1.1, descriptor.md).
pub fn descriptor(media_type: &str, bytes: &[u8]) -> Value {
    json!({"mediaType": media_type, "digest": Digest::of(bytes), "size": bytes.len()})
}

/// An OCI layout in a directory of its own.
pub struct OciLayout {
    directory: tempfile::TempDir,
    manifests: Vec<Value>,
}

impl OciLayout {
    /// A layout without images.
    pub fn new() -> Self {
        let directory = tempfile::tempdir().expect("temporary directory");
        std::fs::create_dir_all(directory.path().join("blobs/sha256")).expect("mkdir");
        write(directory.path().join("oci-layout"), r#"{"imageLayoutVersion":"1.0.0"}"#);
        Self { directory, manifests: Vec::new() }
    }

    /// Its directory.
    pub fn path(&self) -> &Path {
        self.directory.path()
    }

    /// Stores a blob, and gives the file.
    pub fn blob(&self, bytes: &[u8]) -> PathBuf {
        let path = self.path().join("blobs/sha256").join(Digest::of(bytes).to_hex());
        write(&path, bytes);
        path
    }

    /// Adds an image by what its `org.opencontainers.image.ref.name` shall be.
    pub fn add(mut self, image: &Image, name: &str) -> Self {
        let mut entry = self.put(image);
        entry["annotations"] = json!({"org.opencontainers.image.ref.name": name});
        self.entry(entry)
    }

    /// Adds an index of several images.
    pub fn add_index(mut self, images: &[Image], name: &str) -> Self {
        let entries: Vec<Value> = images.iter().map(|image| self.put(image)).collect();
        let index = json!({"schemaVersion": 2, "mediaType": OCI_INDEX, "manifests": entries}).to_string();
        self.blob(index.as_bytes());
        let mut entry = descriptor(OCI_INDEX, index.as_bytes());
        entry["annotations"] = json!({"org.opencontainers.image.ref.name": name});
        self.entry(entry)
    }

    /// Adds an entry to `index.json`.
    pub fn entry(mut self, entry: Value) -> Self {
        self.manifests.push(entry);
        let index = json!({"schemaVersion": 2, "manifests": self.manifests});
        write(self.path().join("index.json"), index.to_string());
        self
    }

    fn put(&mut self, image: &Image) -> Value {
        let blobs = image.blobs();
        blobs.iter().for_each(|blob| drop(self.blob(blob)));
        let mut entry = descriptor(OCI_MANIFEST, blobs.last().expect("a manifest"));
        entry["platform"] = json!({"os": "linux", "architecture": image.architecture});
        if let Some(variant) = &image.variant {
            entry["platform"]["variant"] = json!(variant);
        }
        entry
    }
}

//! Every number that protects us from outside input, with its unit and its reason.

/// The largest manifest or index, in bytes. Registries are asked to accept 4 MiB
/// (OCI distribution-spec 1.1, "Pushing Manifests").
pub const MANIFEST_BYTES: u64 = 4 << 20;
/// The largest image configuration, in bytes; the largest seen in practice are some tens of KiB.
pub const IMAGE_CONFIG_BYTES: u64 = 8 << 20;
/// The most layers of one image: overlayfs takes 500 lower directories, and tools stop at 127.
pub const IMAGE_LAYERS: usize = 127;
/// The most manifests of one index.
pub const INDEX_ENTRIES: usize = 1024;
/// The largest compressed layer, in bytes.
pub const LAYER_BYTES: u64 = 16 << 30;
/// The largest unpacked layer, in bytes; what a decompression bomb may write before it is stopped.
pub const LAYER_UNPACKED_BYTES: u64 = 32 << 30;
/// How many times larger than its compressed form a layer may become once it is past
/// [`LAYER_RATIO_FROM_BYTES`]; real layers stay below 100.
pub const LAYER_RATIO: u64 = 1024;
/// Unpacked bytes below which [`LAYER_RATIO`] is not looked at: small layers of zeros are harmless.
pub const LAYER_RATIO_FROM_BYTES: u64 = 256 << 20;
/// The most entries in one layer: inodes are finite too.
pub const LAYER_ENTRIES: u64 = 2_000_000;
/// The longest path in a layer, in bytes (Linux `PATH_MAX` less the terminator).
pub const LAYER_PATH_BYTES: usize = 4095;
/// The deepest directory in a layer.
pub const LAYER_DEPTH: usize = 256;
/// The most bytes of extended attributes and PAX records of one entry.
pub const LAYER_HEADER_BYTES: u64 = 1 << 20;
/// The most bytes of directory names of one layer that are kept in memory while it is unpacked, because
/// their times can only be set at the end; a distribution's whole tree has some hundred KiB.
pub const LAYER_DIRECTORY_BYTES: usize = 16 << 20;
/// The most members of an image archive given to `image load`: some per layer of some images.
pub const ARCHIVE_ENTRIES: u64 = 65_536;
/// The largest zstd window that is accepted, as a power of two: 8 MiB, the format's recommended
/// minimum support (RFC 8878 3.1.1.1.2) and our memory budget.
pub const ZSTD_WINDOW_LOG: u32 = 23;
/// The largest answer of a token service, in bytes.
pub const TOKEN_BYTES: u64 = 256 << 10;
/// How many redirects of one registry request are followed.
pub const HTTP_REDIRECTS: u32 = 5;
/// The largest YAML manifest given to `deploy`, in bytes.
pub const DEPLOY_MANIFEST_BYTES: u64 = 1 << 20;
/// The largest JSON body of a local API request, in bytes.
pub const API_BODY_BYTES: u64 = 1 << 20;
/// The most connections held on the local API's socket.
pub const API_CONNECTIONS: usize = 64;
/// The largest configuration file, in bytes.
pub const CONFIG_BYTES: u64 = 1 << 20;
/// The largest OCI `config.json`, in bytes.
pub const RUNTIME_SPEC_BYTES: u64 = 4 << 20;
/// The longest line that a container may log in one piece, in bytes; longer ones are split and marked
/// partial (`P`), as the CRI log format has it.
pub const LOG_LINE_BYTES: usize = 16 << 10;
/// The most workloads on one node; a device has tens.
pub const WORKLOADS: usize = 1024;

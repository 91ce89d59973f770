# Turns what a recipe installs into an OCI image layout (image-spec 1.1, image-layout.md) and deploys it as
# ${PN}.oci: one layer, one platform, the same bytes for the same files. For recipes that inherit nopackages.

inherit deploy

OCI_IMAGE_NAME ?= "localhost/${PN}:${PV}"
OCI_IMAGE_NAME[doc] = "The name that the image carries."
OCI_IMAGE_ENTRYPOINT ?= ""
OCI_IMAGE_ENTRYPOINT[doc] = "Program and arguments, separated by spaces."
OCI_IMAGE_ENV ?= "PATH=/usr/bin:/bin"
OCI_IMAGE_ENV[doc] = "Environment as NAME=value words."
OCI_IMAGE_USER ?= ""
OCI_IMAGE_USER[doc] = "User as in the image configuration: uid, uid:gid or a name; empty for root."

# The specification's words for an architecture.
def oci_platform(d):
    arch = d.getVar("TRANSLATED_TARGET_ARCH")
    if arch == "aarch64":
        return {"architecture": "arm64", "variant": "v8"}
    if arch == "arm":
        # One of armv7a, armv7ve and their like; older ones are v6.
        v7 = any(override.startswith("armv7") for override in d.getVar("OVERRIDES").split(":"))
        return {"architecture": "arm", "variant": "v7" if v7 else "v6"}
    return {"architecture": {"x86-64": "amd64"}.get(arch, arch)}

# The root file system as a tar archive: sorted, root's, without times.
def oci_layer(root):
    import io
    import tarfile

    def entry(info):
        info.uid = info.gid = info.mtime = 0
        info.uname = info.gname = ""
        return info

    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode="w", format=tarfile.PAX_FORMAT) as tar:
        for folder, folders, files in os.walk(root):
            folders.sort()
            for name in sorted(folders + files):
                path = os.path.join(folder, name)
                if name in folders and not os.path.islink(path) or name in files or os.path.islink(path):
                    tar.add(path, os.path.relpath(path, root), recursive=False, filter=entry)
    return out.getvalue()

fakeroot python do_oci_image() {
    import gzip
    import hashlib
    import json

    layout = d.expand("${B}/${PN}.oci")
    bb.utils.remove(layout, recurse=True)
    blobs = os.path.join(layout, "blobs/sha256")
    bb.utils.mkdirhier(blobs)

    def blob(kind, content):
        sum = hashlib.sha256(content).hexdigest()
        with open(os.path.join(blobs, sum), "wb") as f:
            f.write(content)
        return {"mediaType": "application/vnd.oci.image.%s" % kind, "digest": "sha256:" + sum, "size": len(content)}

    def text(value):
        return json.dumps(value, sort_keys=True, separators=(",", ":")).encode()

    layer = oci_layer(d.getVar("D"))
    platform = dict(oci_platform(d), os="linux")
    config = {"WorkingDir": "/"}
    for key, variable in (("Entrypoint", "ENTRYPOINT"), ("Env", "ENV")):
        words = d.getVar("OCI_IMAGE_" + variable).split()
        if words:
            config[key] = words
    if d.getVar("OCI_IMAGE_USER"):
        config["User"] = d.getVar("OCI_IMAGE_USER")
    rootfs = {"type": "layers", "diff_ids": ["sha256:" + hashlib.sha256(layer).hexdigest()]}

    manifest = blob("manifest.v1+json", text({
        "schemaVersion": 2,
        "mediaType": "application/vnd.oci.image.manifest.v1+json",
        "config": blob("config.v1+json", text(dict(platform, config=config, rootfs=rootfs))),
        "layers": [blob("layer.v1.tar+gzip", gzip.compress(layer, 9, mtime=0))],
    }))
    manifest["platform"] = platform
    manifest["annotations"] = {"org.opencontainers.image.ref.name": d.getVar("OCI_IMAGE_NAME")}
    for name, content in (("index.json", {"schemaVersion": 2, "manifests": [manifest]}),
                          ("oci-layout", {"imageLayoutVersion": "1.0.0"})):
        with open(os.path.join(layout, name), "wb") as f:
            f.write(text(content))
}
do_oci_image[doc] = "Makes an OCI image layout of what was installed"
addtask oci_image after do_install before do_deploy
do_oci_image[depends] += "virtual/fakeroot-native:do_populate_sysroot"
do_oci_image[vardeps] += "OCI_IMAGE_ENTRYPOINT OCI_IMAGE_ENV OCI_IMAGE_NAME OCI_IMAGE_USER"

do_deploy() {
    cp -R --no-preserve=ownership ${B}/${PN}.oci ${DEPLOYDIR}/
}
addtask deploy after do_oci_image before do_build

# An image for an architecture, used by image recipes of machines.
PACKAGE_ARCH = "${MACHINE_ARCH}"

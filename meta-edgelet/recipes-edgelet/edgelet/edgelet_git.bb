SUMMARY = "Container engine, OCI runtime and supervisor for devices, in one program"
DESCRIPTION = "Runs OCI workloads on an embedded device and keeps them running through crashes, power cuts and reboots, alone or under a fleet controller."
HOMEPAGE = "https://github.com/edgelet/edgelet"
BUGTRACKER = "https://github.com/edgelet/edgelet/issues"
SECTION = "base"
# Our own, and those of the crates that are linked in; of a choice the first one we may use.
LICENSE = "Apache-2.0 & BSD-2-Clause & BSD-3-Clause & CDLA-Permissive-2.0 & ISC & MIT & Unicode-3.0 & Zlib"
LIC_FILES_CHKSUM = "file://../LICENSE;md5=3b83ef96387f14655fc854ddc3c6bd57"

PV = "0.1.0+git"

SRC_URI = "\
    file://edgelet-seed \
    file://edgelet-seed.service \
    file://edgelet.conf \
    file://edgelet.service \
"
# By `cargo xtask crates-inc`; the class for it would take the lock files of fuzzing and of build folders too.
require ${BPN}-crates.inc

inherit bash-completion cargo externalsrc systemd

# The agent's tree beside this layer. Nothing is written into it.
EXTERNALSRC ?= "${@os.path.normpath('${FILE_DIRNAME}/../../../agent')}"
EXTERNALSRC_SYMLINKS = ""
# It would be the time of the youngest file there, which differs with each checkout, and with what cargo built last.
SOURCE_DATE_EPOCH = "${SOURCE_DATE_EPOCH_FALLBACK}"

# One for each feature of the crate `edgelet`, of the same name; it has none yet.
PACKAGECONFIG ??= ""

# Of the workspace this program only; the class would install every one.
CARGO_BUILD_FLAGS += "--package edgelet"
# A panic aborts, so nobody unwinds.
RUSTFLAGS += "-C force-unwind-tables=no"
# The workspace strips its releases; here the packages are split from an unstripped one.
export CARGO_PROFILE_RELEASE_STRIP = "none"
# What C and assembler the crates have is compiled where they are unpacked, which is neither S nor B.
DEBUG_PREFIX_MAP:prepend = "-ffile-prefix-map=${WORKDIR}=${TARGET_DBGSRC_DIR} "

SYSTEMD_SERVICE:${PN} = "edgelet.service edgelet-seed.service"

# What `edgelet version` says: the last commit of these sources, which changes when they do. Here and not in a
# variable: a commit would change what the task was parsed with.
do_compile:prepend() {
    if stamp=$(git -C "${EXTERNALSRC}" log -1 --format='%cI %H' -- . 2>/dev/null); then
        export EDGELET_BUILD_TIME="${stamp% *}" EDGELET_GIT_COMMIT="${stamp#* }"
    fi
}

do_install:append() {
    ln -s edgelet ${D}${bindir}/edgelet-oci

    install -D -m 0644 -t ${D}${systemd_system_unitdir} ${UNPACKDIR}/edgelet.service ${UNPACKDIR}/edgelet-seed.service
    install -D -m 0755 ${UNPACKDIR}/edgelet-seed ${D}${libexecdir}/edgelet/edgelet-seed
    install -D -m 0644 ${UNPACKDIR}/edgelet.conf ${D}${nonarch_libdir}/tmpfiles.d/edgelet.conf
    # A place to mount the configuration on, where the root is read-only.
    install -d -m 0755 ${D}${sysconfdir}/edgelet

    install -D -m 0644 -t ${D}${mandir}/man1 ${S}/assets/man/*.1
    install -D -m 0644 -t ${D}${mandir}/man8 ${S}/assets/man/*.8
    install -D -m 0644 ${S}/assets/completions/edgelet.bash ${D}${datadir}/bash-completion/completions/edgelet
    install -D -m 0644 ${S}/assets/completions/_edgelet ${D}${datadir}/zsh/site-functions/_edgelet
}

# The runtime for others: podman, containerd and CRI-O are told its path.
PACKAGES =+ "${PN}-oci ${PN}-zsh-completion"

FILES:${PN} += "\
    ${nonarch_libdir}/tmpfiles.d/edgelet.conf \
"
FILES:${PN}-oci = "${bindir}/edgelet-oci"
FILES:${PN}-zsh-completion = "${datadir}/zsh"

RDEPENDS:${PN}-oci = "${PN}"

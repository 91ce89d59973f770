SUMMARY = "What makes a system with edgelet a device"
DESCRIPTION = "Boot health, factory reset, the names of the medium's partitions, settings of watchdog, journal and clock."
HOMEPAGE = "https://github.com/edgelet/edgelet"
SECTION = "base"
LICENSE = "Apache-2.0"
LIC_FILES_CHKSUM = "file://${COMMON_LICENSE_DIR}/Apache-2.0;md5=89aea4e17d99a7cacdbeed46a0096b10"

SRC_URI = "\
    file://10-edgelet-data.conf \
    file://10-edgelet-journal.conf \
    file://10-edgelet-timesync.conf \
    file://10-edgelet-watchdog.conf \
    file://60-edgelet-disk.rules \
    file://boot-health \
    file://edgelet-boot-deadline.service \
    file://edgelet-boot-deadline.timer \
    file://edgelet-boot-health.service \
    file://edgelet-os-reset \
    file://facts.sh \
    file://is-on-our-disk \
    file://loader.sh \
    file://order.sh \
    file://rauc-pre-install \
"

S = "${UNPACKDIR}"

inherit allarch features_check systemd

REQUIRED_DISTRO_FEATURES = "rauc systemd"

SYSTEMD_SERVICE:${PN} = "edgelet-boot-deadline.timer edgelet-boot-health.service"

do_configure[noexec] = "1"
do_compile[noexec] = "1"

do_install() {
    install -D -m 0644 ${S}/10-edgelet-data.conf ${D}${systemd_system_unitdir}/edgelet.service.d/10-edgelet-data.conf
    install -D -m 0644 ${S}/10-edgelet-journal.conf ${D}${systemd_unitdir}/journald.conf.d/10-edgelet-journal.conf
    install -D -m 0644 ${S}/10-edgelet-timesync.conf ${D}${systemd_unitdir}/timesyncd.conf.d/10-edgelet-timesync.conf
    install -D -m 0644 ${S}/10-edgelet-watchdog.conf ${D}${systemd_unitdir}/system.conf.d/10-edgelet-watchdog.conf
    for unit in edgelet-boot-deadline.service edgelet-boot-deadline.timer edgelet-boot-health.service; do
        install -D -m 0644 ${S}/$unit ${D}${systemd_system_unitdir}/$unit
    done
    install -D -m 0644 ${S}/60-edgelet-disk.rules ${D}${nonarch_libdir}/udev/rules.d/60-edgelet-disk.rules

    install -D -m 0755 ${S}/edgelet-os-reset ${D}${sbindir}/edgelet-os-reset
    install -d ${D}${libexecdir}/edgelet-os
    for program in boot-health is-on-our-disk rauc-pre-install; do
        install -m 0755 ${S}/$program ${D}${libexecdir}/edgelet-os/
    done
    install -m 0644 ${S}/facts.sh ${S}/loader.sh ${S}/order.sh ${D}${libexecdir}/edgelet-os/

    # Where the initramfs mounts the data partition.
    install -d ${D}/data
}

FILES:${PN} += "\
    /data \
    ${nonarch_libdir}/udev/rules.d \
    ${systemd_system_unitdir}/edgelet-boot-deadline.service \
    ${systemd_system_unitdir}/edgelet.service.d \
    ${systemd_unitdir}/journald.conf.d \
    ${systemd_unitdir}/system.conf.d \
    ${systemd_unitdir}/timesyncd.conf.d \
"

RDEPENDS:${PN} = "\
    edgelet \
    rauc \
    rauc-conf \
    rauc-service \
"

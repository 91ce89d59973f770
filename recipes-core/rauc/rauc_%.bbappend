# Good is what edgelet-boot-health finds good, not whatever reached the end of its boot.
RRECOMMENDS:${PN}:remove:edgelet-os = "rauc-mark-good"

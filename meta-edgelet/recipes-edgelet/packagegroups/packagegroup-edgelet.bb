SUMMARY = "The edgelet agent with what it needs at run time"
DESCRIPTION = "The agent, its OCI runtime under its own name, and kernel modules that are needed where the kernel does not have them built in."
HOMEPAGE = "https://github.com/edgelet/edgelet"
SECTION = "base"
LICENSE = "Apache-2.0"

inherit packagegroup

RDEPENDS:${PN} = "\
    ca-certificates \
    edgelet \
    edgelet-oci \
"

# Built in or modules, as the kernel's configuration has it.
RRECOMMENDS:${PN} = "\
    kernel-module-bridge \
    kernel-module-overlay \
    kernel-module-veth \
"

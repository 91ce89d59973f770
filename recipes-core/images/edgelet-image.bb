SUMMARY = "edgelet OS, the image of a product"
DESCRIPTION = "A read-only root in two slots with the edgelet agent. Nobody can log in: no password is set, and there is no SSH server."

require edgelet-image.inc

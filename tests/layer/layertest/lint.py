"""oelint-adv over everything of ours that BitBake reads."""

import subprocess

from .test_recipes import metadata
from .tools import Failure, python_tools

# Not asked for, and why.
SUPPRESSED = {
    "oelint.vars.homepageping": "needs a network",
    "oelint.vars.mispell.unknown": "our own variables; each has a [doc]",
    "oelint.vars.mispell": "IMAGE_TYPEDEP is the image class's own variable",
    "oelint.vars.specific": "image types and machines of other layers, which the linter does not know",
    "oelint.var.suggestedvar.CVE_PRODUCT": "no product of ours is in the database",
    "oelint.var.suggestedvar.BUGTRACKER": "one for the repository, in the agent's recipe",
    "oelint.var.suggestedvar.SECTION": "images and bundles are in no package feed",
    "oelint.var.bbclassextend": "nothing of ours runs on a build host",
    "oelint.var.licenseremotefile": "files that are in the layer itself have the layer's licence",
    "oelint.var.filesoverride": "packages whose whole content is named, on purpose",
    "oelint.var.badimagefeature.allow-root-login": "the development image",
    "oelint.var.badimagefeature.empty-root-password": "the development image",
    "oelint.var.badimagefeature.serial-autologin-root": "the development image",
    "oelint.vars.layerconf": "the layer's own folder, which its class needs",
    "oelint.vars.srcurifile": "the list of crates is in a file of its own",
    "oelint.file.underscores": "images and bundles have no version of their own",
    "oelint.file.requirenotfound": "the linter does not search BBPATH",
    "oelint.vars.pathhardcode.sysconfdir": "the path inside a container image, which has no variables",
    "oelint.var.mandatoryvar.SRC_URI": "a bundle is made of images",
    "oelint.task.docstrings": "image commands and functions of a class are no tasks",
}


def run() -> None:
    """No finding but the suppressed ones."""
    files = [path for path in metadata() if path.name != "edgelet-crates.inc"]
    command = [python_tools() / "oelint-adv", "--release", "wrynose", "--quiet", "--relpaths", "--jobs", "2"]
    for rule in SUPPRESSED:
        command += ["--suppress", rule]
    done = subprocess.run([str(part) for part in [*command, *files]], text=True, capture_output=True)
    # The generated list comes in with the recipe that reads it; its form is that of OE's own generator.
    findings = [line for line in (done.stdout + done.stderr).splitlines() if line and "edgelet-crates.inc:" not in line]
    if findings or done.returncode not in (0, 1):
        raise Failure("oelint-adv found:\n" + "\n".join(findings))
    print(f"oelint-adv: {len(files)} files, nothing found", flush=True)

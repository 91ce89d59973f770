"""kas files, read by kas itself: its schema, its merging, its lock files."""

import json
import re
import unittest

from .tools import REPOSITORY, python_tools, run, tracked

# Merges without fetching: kas's own loader, which checks each file against the schema.
LOADER = """
import argparse, json, sys
from kas.context import create_global_context
create_global_context(argparse.Namespace(no_color=True))
from kas.includehandler import IncludeHandler
config, missing = IncludeHandler(sys.argv[1:]).get_config()
print(json.dumps([config, missing]))
"""
MACHINES = {
    "beaglebone-yocto": "beaglebone-yocto", "generic-x86-64": "genericx86-64", "qemuarm": "qemuarm",
    "qemuarm64": "qemuarm64", "qemuriscv64": "qemuriscv64", "raspberrypi4-64": "raspberrypi4-64",
    "raspberrypi5": "raspberrypi5", "visionfive2": "visionfive2",
}
VARIANTS = {"dev", "debug", "mirror", "master"}


def overlays() -> dict[str, str]:
    """Name and path of each overlay."""
    return {p.stem: str(p) for p in tracked("conf/kas/*.yml") if not p.stem.endswith(".lock")}


def merged(*files: str) -> dict:
    """What kas makes of the files."""
    out = run(python_tools() / "python", "-c", LOADER, REPOSITORY / "kas.yml", *files, cwd=REPOSITORY)
    config, missing = json.loads(out.splitlines()[-1])
    assert not missing, missing
    return config


class Kas(unittest.TestCase):
    """Overlays."""

    def test_default(self):
        """Without an overlay."""
        config = merged()
        self.assertEqual((config["machine"], config["distro"]), ("qemux86-64", "edgelet-os"))
        self.assertEqual(config["target"], ["edgelet-image", "edgelet-bundle"])
        self.assertEqual(set(config["repos"]["edgelet"]["layers"]), {".", "meta-edgelet"})

    def test_each_overlay_is_known(self):
        """The list of the documentation."""
        self.assertEqual(set(overlays()), set(MACHINES) | VARIANTS)

    def test_overlays_merge_and_are_pinned(self):
        """Alone, and with a variant; every repository has a commit."""
        for name, path in overlays().items():
            for more in ([], [overlays()["dev"]]):
                config = merged(path, *more)
                self.assertEqual(config["machine"], MACHINES.get(name, "qemux86-64"))
                commits = config["overrides"]["repos"]
                for repository, content in config["repos"].items():
                    if "url" in content:
                        self.assertRegex(commits[repository]["commit"], r"^[0-9a-f]{40}$", f"{name}: {repository}")
                        self.assertTrue(content["url"].startswith("https://"), content["url"])

    def test_master_is_another_commit(self):
        """The second leg is not the first one by another name."""
        first, second = merged()["overrides"]["repos"], merged(overlays()["master"])["overrides"]["repos"]
        for repository, content in first.items():
            self.assertNotEqual(content["commit"], second[repository]["commit"], repository)

    def test_secrets_come_from_outside(self):
        """Keys are named by the environment, and have no default."""
        for name, content in merged()["env"].items():
            self.assertTrue(re.match("EDGELET_", name), name)
            self.assertIsNone(content, name)

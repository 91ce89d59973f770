"""What recipes say of each other, of their files and of the agent."""

import hashlib
import json
import re
import tomllib
import unittest

from .tools import REPOSITORY, run, text, tracked, value

AGENT = "meta-edgelet/recipes-edgelet/edgelet"
LAYERS = ("meta-edgelet", ".")


def metadata() -> list:
    """All files that BitBake reads."""
    return tracked("meta-edgelet/*.bb", "meta-edgelet/*.bbclass", "meta-edgelet/*.conf", "meta-edgelet/*.inc",
                   "recipes-*/*.bb", "recipes-*/*.bbappend", "recipes-*/*.inc", "classes/*.bbclass", "conf/*.conf",
                   "conf/*.inc")


class Recipes(unittest.TestCase):
    """Rules of our own."""

    def test_crates(self):
        """The list of crates is that of the lock file, with its checksums and nothing else."""
        lock = tomllib.loads(text("agent/Cargo.lock"))["package"]
        expected = {(c["name"], c["version"]): c["checksum"] for c in lock if "crates.io" in c.get("source", "")}
        listing = text(f"{AGENT}/edgelet-crates.inc")
        urls = re.findall(r"crate://crates\.io/([\w-]+)/(\S+)", listing)
        sums = re.findall(r'^SRC_URI\[(\S+)\.sha256sum\] = "(\w+)"$', listing, re.MULTILINE)
        self.assertEqual(sorted(urls), sorted(expected), "run: cargo xtask crates-inc")
        self.assertEqual(dict(sums), {f"{n}-{v}": s for (n, v), s in expected.items()}, "run: cargo xtask crates-inc")
        self.assertFalse([c["name"] for c in lock if c.get("source", "").startswith("git+")])

    def test_features(self):
        """PACKAGECONFIG is one to one with the features of the program's crate."""
        features = tomllib.loads(text("agent/crates/edgelet/Cargo.toml")).get("features", {})
        known = re.findall(r"^PACKAGECONFIG\[(\S+)\]", text(f"{AGENT}/edgelet_git.bb"), re.MULTILINE)
        self.assertEqual(sorted(known), sorted(set(features) - {"default"}))

    def test_licence(self):
        """The checksum is of our LICENSE."""
        checksum = hashlib.md5((REPOSITORY / "LICENSE").read_bytes()).hexdigest()
        for recipe in (f"{AGENT}/edgelet_git.bb", "recipes-containers/edgelet-hello/edgelet-hello_0.1.bb"):
            self.assertIn(f"LICENSE;md5={checksum}", value(text(recipe), "LIC_FILES_CHKSUM"))

    def test_licences_of_crates(self):
        """Each licence that the crates may have is in LICENSE, and none besides."""
        allowed = set(tomllib.loads(text("agent/deny.toml"))["licenses"]["allow"])
        # The exception only ever comes as a choice beside the plain licence.
        allowed.discard("Apache-2.0 WITH LLVM-exception")
        self.assertEqual(set(value(text(f"{AGENT}/edgelet_git.bb"), "LICENSE").split(" & ")), allowed)

    def test_sample_manifest(self):
        """The sample that a device comes with is the one that the documentation shows."""
        self.assertEqual(text("recipes-containers/edgelet-hello/files/edgelet-hello.yaml"), text("docs/examples/hello.yaml"))

    def test_revisions_and_transport(self):
        """Nothing floats, nothing is fetched in clear."""
        for path in metadata() + tracked("kas*.yml", "conf/kas/*.yml"):
            content = "\n".join(line for line in path.read_text().splitlines() if not line.lstrip().startswith("#"))
            self.assertNotIn("AUTOREV", content, path)
            self.assertNotRegex(content, r"\bhttp://|protocol=http\b|\bgit://(?!.*protocol=https)", path)
            self.assertNotIn("pkg_postinst_ontarget", content, path)

    def test_files(self):
        """What a recipe names exists, and what lies beside recipes is named by one."""
        named = set()
        for path in metadata():
            for name in re.findall(r"file://([\w.${}-]+)", path.read_text()):
                if "${" in name:
                    named |= {p.name for p in path.parent.glob("files/*") if
                              re.fullmatch(re.sub(r"\\\$\\\{\w+\\\}", r"[\\w-]+", re.escape(name)), p.name)}
                else:
                    named.add(name)
        named |= {"LICENSE", "COPYING"}
        present = {p.name for p in tracked("recipes-*/*/files/*", "meta-edgelet/recipes-*/*/files/*")}
        self.assertEqual(present - named, set(), "files that no recipe installs")
        missing = {n for n in named - present if n not in ("LICENSE", "COPYING", "Apache-2.0", "..")}
        self.assertEqual(missing, set(), "files that do not exist")

    def test_placeholders(self):
        """Every @NAME@ of a template is replaced by the recipe beside it, and no other."""
        for template in tracked("recipes-*/*/files/*.in"):
            wanted = set(re.findall(r"@([A-Z_]+)@", template.read_text()))
            recipes = "".join(p.read_text() for p in tracked(f"{template.parents[1].relative_to(REPOSITORY)}/*.bb*")
                              if template.name in p.read_text())
            self.assertEqual(wanted, set(re.findall(r"@([A-Z_]+)@", recipes)), template)

    def test_units(self):
        """Each unit is enabled by its recipe, and each program of ours that a file names is installed."""
        recipes = "".join(p.read_text() for p in metadata())
        enabled = " ".join(re.findall(r'^SYSTEMD_SERVICE:\S+ = "([^"]*)"', recipes, re.MULTILINE)).split()
        units = {p.name for p in tracked(*(f"{layer}/files/*.{kind}" for layer in ("recipes-*/*", "meta-edgelet/*/*")
                                           for kind in ("service", "timer")))}
        # A timer starts the service of its name.
        units -= {name.replace(".timer", ".service") for name in units if name.endswith(".timer")}
        self.assertEqual(units, set(enabled))
        for path in tracked("recipes-*/*/files/*", "meta-edgelet/recipes-*/*/files/*"):
            for folder, name in re.findall(r"/usr/libexec/(edgelet|edgelet-os)/([\w.-]+)", path.read_text()):
                home = "meta-edgelet/recipes-edgelet/edgelet" if folder == "edgelet" else "recipes-core/edgelet-os-base"
                self.assertTrue((REPOSITORY / home / "files" / name).exists(), f"{path}: {name}")
                recipe = "".join(p.read_text() for p in tracked(f"{home}/*.bb"))
                self.assertRegex(recipe, rf"(?m)^\s+(install|for) .*\b{re.escape(name)}\b", path)

    def test_initramfs_parts(self):
        """What init reads is what the recipe installs."""
        sourced = re.findall(r"^\. /usr/lib/edgelet-os/(\w+)\.sh$", text("recipes-core/edgelet-initramfs/files/init"),
                             re.MULTILINE)
        recipe = text("recipes-core/edgelet-initramfs/edgelet-initramfs-init_0.1.bb")
        self.assertEqual(sorted(sourced), sorted(re.search(r"for part in (.*); do", recipe).group(1).split()))

    def test_foreign_recipes_change_for_our_distribution_only(self):
        """An append that changes a recipe of others does it under our override: a layer alone changes nothing."""
        for path in tracked("recipes-*/*.bbappend", "recipes-core/linux/edgelet-linux.inc"):
            for line in path.read_text().splitlines():
                # Flags cannot have overrides; the one here is empty unless our variable is set.
                if re.match(r"[A-Za-z_]+[^\s\[]*\s*[?+:.]?=|[a-z_]+\S*\(\)", line):
                    self.assertIn(":edgelet-os", line, path)

    def test_readme(self):
        """What yocto-check-layer looks for."""
        for layer in LAYERS:
            readme = text(f"{layer}/README.md").lower()
            for word in ("maintainer", "patch"):
                self.assertIn(word, readme, f"{layer}/README.md")
            self.assertRegex(readme, r"<[\w.]+@[\w.]+>", f"{layer}/README.md")
            self.assertTrue((REPOSITORY / layer / "SECURITY.md").exists())

    def test_layer_depends_on_what_it_uses(self):
        """Layer names, and the pattern that keeps the nested layer's files out of the root's."""
        root = text("conf/layer.conf")
        self.assertEqual(value(root, "BBFILE_PATTERN_edgelet-os"), "^${LAYERDIR}/recipes-")
        for layer in LAYERS:
            name = value(text(f"{layer}/conf/layer.conf"), "BBFILE_COLLECTIONS")
            self.assertEqual(value(text(f"{layer}/conf/layer.conf"), f"LAYERSERIES_COMPAT_{name}"), "wrynose")
        self.assertFalse(list((REPOSITORY / "meta-edgelet/conf").glob("*/")), "meta-edgelet sets no policy")

    def test_units_are_packaged(self):
        """A unit that the class does not enable has to be named, or a build says that it was not shipped."""
        units = 0
        for path in tracked("meta-edgelet/*.bb", "recipes-*/*.bb"):
            recipe = path.read_text()
            for unit in re.findall(r"file://([\w-]+\.(?:service|timer))", recipe):
                named = [value(recipe, name) for name in ("SYSTEMD_SERVICE:${PN}", "FILES:${PN}")]
                self.assertTrue(any(unit in words for words in named), f"{path}: {unit}")
                units += 1
        self.assertGreaterEqual(units, 5)

    def test_shell_scripts(self):
        """Shell scripts of the layers pass shellcheck."""
        scripts = [p for p in tracked("recipes-*", "meta-edgelet", "files", "conf")
                   if p.read_bytes().startswith(b"#!/bin/sh")]
        self.assertGreater(len(scripts), 5)
        found = json.loads(run("sh", "-c", 'shellcheck -x -f json "$@" || true', "sh", *scripts))
        self.assertEqual([f for f in found if f["code"] not in (1091,)], [])

    def test_parts_of_shell_scripts(self):
        """So do the files that scripts read, but for names that one of them sets and another one uses."""
        parts = tracked("recipes-*.sh")
        self.assertGreater(len(parts), 5)
        found = json.loads(run("sh", "-c", 'shellcheck -s sh -f json "$@" || true', "sh", *parts))
        self.assertEqual([f for f in found if f["code"] not in (2034, 2154)], [])

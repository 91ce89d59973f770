"""Tier 0: everything that can be seen without BitBake."""

import unittest

from . import lint, tools


def run() -> None:
    """The test modules, then the linter."""
    suite = unittest.defaultTestLoader.loadTestsFromNames(
        ["layertest.test_layout", "layertest.test_recipes", "layertest.test_kas"])
    if not unittest.TextTestRunner(verbosity=1).run(suite).wasSuccessful():
        raise tools.Failure("the files do not agree with each other; see above")
    lint.run()

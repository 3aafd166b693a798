# SPDX-License-Identifier: MIT
"""The Makefile's own promises: what it and the README name can be made."""

import re

import pytest

from mpfw import paths

TEXT = (paths.ROOT / "Makefile").read_text()
PHONY = re.findall(r"^\.PHONY: (.*)$", TEXT, re.M)[0].split()
NAMED = re.findall(r"`make ([a-z][a-z-]+)", (paths.ROOT / "README.md").read_text())


@pytest.mark.parametrize("target", sorted({*PHONY, *NAMED}))
def test_every_target_has_a_rule(target):
    assert re.search(rf"^{target}:", TEXT, re.M), f"no rule for {target}"

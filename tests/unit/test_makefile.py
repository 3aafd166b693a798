# SPDX-License-Identifier: MIT
"""What the Makefile and documents name can be made; what the hooks of pre-commit run is there."""

import os
import re

import pytest

from mpfw import paths

TEXT = (paths.ROOT / "Makefile").read_text()
PHONY = re.findall(r"^\.PHONY: ((?:.*\\\n)*.*)$", TEXT, re.M)[0].replace("\\\n", "").split()
DOCUMENTS = [*paths.ROOT.glob("*.md"), *paths.ROOT.glob("docs/**/*.md")]
NAMED = re.findall(r"`make ([a-z][a-z-]+)", "".join(each.read_text() for each in DOCUMENTS))


@pytest.mark.parametrize("target", sorted({*PHONY, *NAMED}))
def test_every_target_has_a_rule(target):
    assert re.search(rf"^{target}:", TEXT, re.M), f"no rule for {target}"


HOOKS = (paths.ROOT / ".pre-commit-config.yaml").read_text()


@pytest.mark.parametrize("entry", re.findall(r"^ +entry: (.+)$", HOOKS, re.M))
def test_every_hook_runs_a_command_of_ours(entry):
    program = paths.ROOT / entry.split()[0]
    assert program.parent == paths.VENV / "bin"
    assert os.access(program, os.X_OK), f"{program} is no command"


def test_hooks_are_local():
    assert re.findall(r"^ *- repo: (.+)$", HOOKS, re.M) == ["local"]
    assert len(re.findall(r"^ +entry: ", HOOKS, re.M)) == len(re.findall(r"- id: ", HOOKS))

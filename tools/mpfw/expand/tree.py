# SPDX-License-Identifier: MIT
"""The whole step: a tree of sources becomes the tree that is frozen."""

import os
from pathlib import Path

from mpfw.expand.fold import fold
from mpfw.expand.inline import MARK, Expander
from mpfw.expand.modules import Module, read


def expanded_texts(root: Path, overlay: Path | None = None) -> dict[Path, str]:
    """What is to be frozen of the modules under `root`: texts by their places in the tree.

    Files under the directory `overlay` replace those at the same place, or are added. ExpandError,
    which begins with a file and a line, for what cannot be expanded or is not Python.
    """
    return _texts(read(root, overlay))


def _texts(modules: dict[str, Module]) -> dict[Path, str]:
    texts = Expander(fold(modules).modules).texts()
    texts.pop(Path(f"{MARK}.py"), None)
    return texts


def expand_tree(source: Path, target: Path) -> list[Path]:
    """Write what is to be frozen of the modules in `source` to `target`; returns what changed.

    A file is written if it is older than its source, too, so that make sees what was touched.
    """
    texts = expanded_texts(source)
    changed = []
    for place, text in texts.items():
        written = target / place
        touched = (source / place).stat().st_mtime
        fresh = written.exists() and written.stat().st_mtime >= touched
        if not fresh or written.read_text(encoding="utf-8") != text:
            written.parent.mkdir(parents=True, exist_ok=True)
            written.write_text(text, encoding="utf-8")
            changed.append(written)
    for written in target.rglob("*.py"):
        if written.relative_to(target) not in texts:
            os.remove(written)
    return changed

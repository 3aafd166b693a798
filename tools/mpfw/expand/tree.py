# SPDX-License-Identifier: MIT
"""The whole step: a tree of sources becomes the tree that is frozen."""

import os
from collections import Counter
from dataclasses import dataclass
from pathlib import Path

from mpfw.expand.builtins import forced
from mpfw.expand.fold import fold
from mpfw.expand.inline import Expander, Place
from mpfw.expand.modules import read
from mpfw.expand.units import MARK


@dataclass
class Expansion:
    """What became of a tree; texts are by their places in it."""

    texts: dict[Path, str]
    frozen: dict[Path, str]  # the same to freeze: imports of MicroPython's modules are forced
    folded: dict[Path, str]  # before functions were inlined
    counts: dict[str, Counter[str]]  # names folded, by module and by the module they are from
    places: dict[str, list[Place]]  # calls inlined, by caller


def expand(root: Path, overlay: Path | None = None) -> Expansion:
    """Expand the modules under `root`, with those under `overlay` laid over them."""
    folded = fold(read(root, overlay))
    expander = Expander(folded.modules)
    texts = expander.texts()
    texts.pop(Path(f"{MARK}.py"), None)
    before = {module.place: module.source for module in folded.modules.values()}
    frozen = {place: forced(text, folded.modules) for place, text in texts.items()}
    return Expansion(texts, frozen, before, folded.counts, expander.places)


def expanded_texts(root: Path, overlay: Path | None = None) -> dict[Path, str]:
    """What the modules under `root` are expanded to: texts by their places in the tree.

    Files under the directory `overlay` replace those at the same place, or are added. ExpandError,
    which begins with a file and a line, for what cannot be expanded or is not Python.
    """
    return expand(root, overlay).texts


def frozen_texts(root: Path, overlay: Path | None = None) -> dict[Path, str]:
    """The same as it is frozen: MicroPython's own modules are imported past the file systems."""
    return expand(root, overlay).frozen


def expand_tree(source: Path, target: Path) -> list[Path]:
    """Write what the modules in `source` are expanded to to `target`; returns what changed."""
    return write(expanded_texts(source), source, target)


def write(texts: dict[Path, str], source: Path, target: Path) -> list[Path]:
    """Make `texts` what there is under `target`; returns what changed.

    A file is written if it is older than its source, too, so that make sees what was touched.
    """
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

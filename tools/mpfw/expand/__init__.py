# SPDX-License-Identifier: MIT
"""Makes what is frozen of the modules' sources, which ask more than MicroPython's compiler gives.

- modules.py reads the tree.
- constants.py, scopes.py, edits.py, fold.py: names of modules that hold constants only become
  numbers.
- units.py, lower.py, body.py, inline.py: calls of functions marked `@inline` become their bodies.
- builtins.py: imports of MicroPython's own modules go past the file systems.
- tree.py does all of it and writes the result; cli.py is the command.
- report.py, native.py: what was done, and what it costs.
"""

from mpfw.expand.cli import expand
from mpfw.expand.modules import ExpandError
from mpfw.expand.tree import expand_tree, expanded_texts, frozen_texts

__all__ = ("ExpandError", "expand", "expand_tree", "expanded_texts", "frozen_texts")

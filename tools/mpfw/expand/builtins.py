# SPDX-License-Identifier: MIT
"""Has the frozen modules import MicroPython's own modules by the names that no file can take.

`import time` looks for a file time.py in every directory of sys.path first, each time: 30,000
instructions, of which a start of the built-in echo has sixty. A program's time.py is not what the
firmware's modules mean, besides. `import utime` is the built-in one (docs.micropython.org,
"Extending built-in libraries from Python").
"""

import ast
from collections.abc import Collection

from mpfw.expand.edits import Edits

# Those that a file may stand before, in MicroPython's sources MP_REGISTER_EXTENSIBLE_MODULE.
_BUILTIN = {
    *("array", "binascii", "collections", "errno", "hashlib", "io", "json", "machine", "os"),
    *("platform", "random", "re", "select", "struct", "time"),
}


def forced(text: str, ours: Collection[str]) -> str:
    """A module's text with such imports; those of modules in `ours`, the tree's, stay."""
    names = _BUILTIN.difference(ours)
    edits = Edits(text)
    for node in ast.walk(ast.parse(text)):
        if isinstance(node, ast.ImportFrom) and not node.level and node.module in names:
            edits.replace(node, ast.unparse(ast.ImportFrom("u" + node.module, node.names, 0)))
        elif isinstance(node, ast.Import) and any(each.name in names for each in node.names):
            aliases = [_alias(each, names) for each in node.names]
            edits.replace(node, ast.unparse(ast.Import(aliases)))
    return edits.text() if edits else text


def _alias(alias: ast.alias, names: Collection[str]) -> ast.alias:
    if alias.name not in names:
        return alias
    return ast.alias("u" + alias.name, alias.asname or alias.name)

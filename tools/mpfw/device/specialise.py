# SPDX-License-Identifier: MIT
"""The firmware's hot modules as CPython runs them fastest: same source, fewer steps.

MicroPython's viper wants pointers and casts, which a control block that is an array does not need:
`ptr32(at)` is `at` itself, `int(f(x))` is `f(x)`, `w.NAME` is its number, and the word of ones
that viper cannot write as a literal is that number too. A packet costs a third less of them so.
"""

import ast
import importlib.abc
import importlib.machinery
import importlib.util
import types
from collections.abc import Sequence
from pathlib import Path
from typing import Any

_MODULES = ("control", "credit", "table")


class Finder(importlib.abc.MetaPathFinder):
    """Finds the hot modules below `package`; all others are somebody else's."""

    def __init__(self, package: str, directory: Path):
        """`directory`: where the package's sources lie."""
        source = directory / "vsock"
        self._paths = {f"{package}.vsock.{name}": source / f"{name}.py" for name in _MODULES}
        self._words = f"{package}.vsock.words"

    def find_spec(
        self, fullname: str, path: Sequence[str] | None, target: types.ModuleType | None = None
    ) -> importlib.machinery.ModuleSpec | None:
        file = self._paths.get(fullname)
        if file is None:
            return None
        loader = _Loader(fullname, str(file), self._words)
        return importlib.util.spec_from_file_location(fullname, file, loader=loader)


class _Loader(importlib.machinery.SourceFileLoader):
    def __init__(self, name: str, path: str, words: str):
        super().__init__(name, path)
        self._words = words

    def get_code(self, fullname: str) -> types.CodeType:
        """Compiled anew each time: the bytecode beside the source is the plain source's."""
        words = vars(importlib.import_module(self._words))
        tree = ast.parse(self.get_data(self.path), self.path)
        return compile(ast.fix_missing_locations(_Steps(words).visit(tree)), self.path, "exec")


class _Steps(ast.NodeTransformer):
    """Takes out of a module's functions what only viper needs."""

    def __init__(self, words: dict[str, Any]):
        self._words = words

    def visit_Attribute(self, node: ast.Attribute) -> ast.AST:
        if isinstance(node.value, ast.Name) and node.value.id == "w":
            return ast.copy_location(ast.Constant(self._words[node.attr]), node)
        return self.generic_visit(node)

    def visit_Subscript(self, node: ast.Subscript) -> ast.AST:
        index = node.slice
        ones = isinstance(index, ast.Attribute) and index.attr == "ONES"
        if ones and isinstance(node.ctx, ast.Load):
            return ast.copy_location(ast.Constant(0xFFFFFFFF), node)
        return self.generic_visit(node)

    def visit_Call(self, node: ast.Call) -> ast.AST:
        self.generic_visit(node)
        name = node.func.id if isinstance(node.func, ast.Name) else ""
        if name == "ptr32" or (name == "int" and isinstance(node.args[0], ast.Call)):
            return node.args[0]
        return node

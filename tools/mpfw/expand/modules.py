# SPDX-License-Identifier: MIT
"""Reads a tree of modules, with another directory laid over it if asked."""

import ast
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

_DEFINITIONS = (ast.FunctionDef, ast.AsyncFunctionDef, ast.ClassDef)


class ExpandError(Exception):
    """Something that cannot be expanded; one sentence that begins with the place."""


@dataclass
class Module:
    """A source file of the tree."""

    name: str  # dotted
    path: Path  # where the text comes from
    place: Path  # where it lies in the tree
    source: str
    tree: ast.Module

    @property
    def package(self) -> bool:
        """True for the `__init__.py` of a package."""
        return self.place.name == "__init__.py"

    def error(self, node: ast.AST, why: str) -> ExpandError:
        """An ExpandError that names the line of `node`."""
        return ExpandError(f"{self.path}:{getattr(node, 'lineno', 1)}: {why}")

    def origin(self, node: ast.ImportFrom) -> str:
        """The dotted name of the module that a `from ... import` takes from."""
        if not node.level:
            return node.module or ""
        parts = self.name.split(".") if self.name else []
        up = node.level - 1 if self.package else node.level
        if up > len(parts):
            raise self.error(node, "this import leads out of the tree")
        return ".".join([*parts[: len(parts) - up], *filter(None, [node.module])])

    def with_text(self, text: str) -> "Module":
        """The same module with another text."""
        return Module(self.name, self.path, self.place, text, _parse(text, self.path))


def read(root: Path, overlay: Path | None = None) -> dict[str, Module]:
    """All modules under `root`, by dotted name; files under `overlay` replace or add to those.

    ExpandError for a file that is not Python, with its line.
    """
    places = {}
    for directory in filter(None, [root, overlay]):
        for path in sorted(directory.rglob("*.py")):
            places[path.relative_to(directory)] = path
    modules: dict[str, Module] = {}
    for place in sorted(places):
        path = places[place]
        parts = place.with_suffix("").parts
        name = ".".join(parts[:-1] if parts[-1] == "__init__" else parts)
        if name in modules:
            raise ExpandError(f"{path}:1: {modules[name].path} is the module {name}, too")
        try:
            text = path.read_text(encoding="utf-8")
        except UnicodeDecodeError as error:
            line = error.object.count(b"\n", 0, error.start) + 1
            raise ExpandError(f"{path}:{line}: this is not UTF-8") from error
        modules[name] = Module(name, path, place, text, _parse(text, path))
    return modules


def _parse(text: str, path: Path) -> ast.Module:
    try:
        return ast.parse(text, str(path))
    except SyntaxError as error:
        raise ExpandError(f"{path}:{error.lineno or 1}: {error.msg}") from error
    except ValueError as error:  # a NUL, in Pythons that have no SyntaxError for it
        raise ExpandError(f"{path}:1: {error}") from error


def imports(tree: ast.AST, definitions: bool = True) -> Iterator[ast.Import | ast.ImportFrom]:
    """The import statements in `tree`; if not `definitions`, but for those in functions."""
    for part in ("body", "handlers", "orelse", "finalbody"):
        for node in getattr(tree, part, []):
            if isinstance(node, (ast.Import, ast.ImportFrom)):
                yield node
            elif definitions or not isinstance(node, _DEFINITIONS):
                yield from imports(node, definitions)


def is_const(node: ast.AST) -> bool:
    """True for a call `const(expression)`."""
    return (
        isinstance(node, ast.Call)
        and isinstance(node.func, ast.Name)
        and node.func.id == "const"
        and len(node.args) == 1
        and not node.keywords
    )

# SPDX-License-Identifier: MIT
"""Finds names in the guest's modules that nothing binds, before a guest trips over them.

Undefined names within a module are ruff's work, which build/venv has; names that one module takes
from another are looked up here. Says nothing of modules that are not in the tree.
"""

import ast
import json
import subprocess
import symtable
import sys
from collections.abc import Iterator
from pathlib import Path

from mpfw import paths

UNDEFINED = "F821,F822,F823"  # ruff's rules


def undefined(files: list[Path]) -> str | None:
    """The first name that is used in one of the files and bound nowhere: place and sentence."""
    if not files:
        return None
    ruff = Path(sys.executable).parent / "ruff"
    config = paths.ROOT / "pyproject.toml"
    command = [ruff, "check", "--no-cache", "--quiet", "--exit-zero", "--output-format", "json"]
    command += ["--config", config, "--select", UNDEFINED, *files]
    found = subprocess.run(command, stdout=subprocess.PIPE, text=True, check=True).stdout
    given = {str(file.resolve()): file for file in files}
    for each in json.loads(found):
        message = each["message"][0].lower() + each["message"][1:]
        return f"{given[each['filename']]}:{each['location']['row']}: {message}"
    return None


class Tree:
    """The modules of a tree, {path below its root: file}, and the names that each of them has."""

    def __init__(self, files: dict[Path, Path]):
        self._files = {_dotted(path): file for path, file in files.items()}
        self._packages = {_dotted(path) for path in files if path.stem == "__init__"}
        self._sources = {name: file.read_text() for name, file in self._files.items()}
        self._names: dict[str, set[str]] = {}

    def missing(self) -> str | None:
        """The first import that takes what is not there: place and sentence; None if all is."""
        for name, source in self._sources.items():
            for node in _imports(ast.parse(source)):
                why = self._why_not(name, node)
                if why:
                    return f"{self._files[name]}:{node.lineno}: {why}"
        return None

    def _why_not(self, importer: str, node: ast.ImportFrom) -> str | None:
        origin = self._origin(importer, node)
        if origin not in self._files:
            inside = node.level or origin.partition(".")[0] in self._files
            return f"there is no module {origin}" if inside else None
        names = self._bound(origin)
        for alias in node.names:
            known = alias.name in names or f"{origin}.{alias.name}" in self._files
            if not known and alias.name != "*" and "__getattr__" not in names:
                return f"module {origin} has no {alias.name}"
        return None

    def _origin(self, importer: str, node: ast.ImportFrom) -> str:
        """The dotted name of the module that is imported from."""
        if not node.level:
            return node.module or ""
        parts = importer.split(".")
        up = node.level - (importer in self._packages)
        parts = parts[: len(parts) - up]
        return ".".join([*parts, *filter(None, [node.module])])

    def _bound(self, name: str) -> set[str]:
        """The global names that a module binds, in functions as well."""
        if name not in self._names:
            top = symtable.symtable(self._sources[name], name, "exec")
            names = {
                each.get_name()
                for each in top.get_symbols()
                if each.is_assigned() or each.is_imported() or each.is_namespace()
            }
            for inner in _scopes(top):
                for each in inner.get_symbols():
                    if each.is_declared_global() and each.is_assigned():
                        names.add(each.get_name())
            self._names[name] = names
        return self._names[name]


def _dotted(path: Path) -> str:
    parts = path.with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


def _imports(tree: ast.Module) -> Iterator[ast.ImportFrom]:
    """Every `from ... import`, but for those that something catches the failure of."""
    guarded = {
        id(inner)
        for node in ast.walk(tree)
        if isinstance(node, ast.Try) and node.handlers
        for statement in node.body
        for inner in ast.walk(statement)
    }
    for node in ast.walk(tree):
        if isinstance(node, ast.ImportFrom) and id(node) not in guarded:
            yield node


def _scopes(table: symtable.SymbolTable) -> Iterator[symtable.SymbolTable]:
    for child in table.get_children():
        yield child
        yield from _scopes(child)

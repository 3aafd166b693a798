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
from collections.abc import Iterable, Iterator
from pathlib import Path

from mpfw import paths
from mpfw.expand.modules import Module

UNDEFINED = "F821,F822,F823"  # ruff's rules


def undefined(files: list[Path]) -> str | None:
    """The first name that is used in one of the files and bound nowhere: place and sentence."""
    if not files:
        return None
    ruff = Path(sys.executable).parent / "ruff"
    command = [str(ruff), "check", "--no-cache", "--quiet", "--exit-zero", "--output-format=json"]
    command += [f"--config={paths.ROOT / 'pyproject.toml'}", f"--select={UNDEFINED}"]
    command += map(str, files)
    found = subprocess.run(command, stdout=subprocess.PIPE, text=True, check=True).stdout
    given = {str(file.resolve()): file for file in files}
    for each in json.loads(found):
        message = each["message"][0].lower() + each["message"][1:]
        return f"{given[each['filename']]}:{each['location']['row']}: {message}"
    return None


def missing(modules: dict[str, Module]) -> str | None:
    """The first import that takes what is not there: place and sentence; None if all is."""
    bound = _Names(modules)
    for module in modules.values():
        for node in _certain_imports(module.tree.body):
            why = bound.why_not(module, node)
            if why:
                return str(module.error(node, why))
    return None


class _Names:
    """The names that each of the modules has."""

    def __init__(self, modules: dict[str, Module]):
        self._modules = modules
        self._names: dict[str, set[str]] = {}

    def why_not(self, importer: Module, node: ast.ImportFrom) -> str | None:
        """Why an import fails; None if it does not, or is of a module outside the tree."""
        origin = importer.origin(node)
        if origin not in self._modules:
            inside = node.level or origin.partition(".")[0] in self._modules
            return f"there is no module {origin}" if inside else None
        names = self._bound(origin)
        for alias in node.names:
            known = alias.name in names or f"{origin}.{alias.name}" in self._modules
            if not known and alias.name != "*" and "__getattr__" not in names:
                return f"module {origin} has no {alias.name}"
        return None

    def _bound(self, name: str) -> set[str]:
        """The global names that a module binds, in functions as well."""
        if name not in self._names:
            module = self._modules[name]
            top = symtable.symtable(module.source, str(module.path), "exec")
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


def _certain_imports(statements: Iterable[ast.AST]) -> Iterator[ast.ImportFrom]:
    """Every `from ... import`, but for those that something catches the failure of."""
    for node in statements:
        if isinstance(node, ast.ImportFrom):
            yield node
        for part in ("body", "handlers", "orelse", "finalbody"):
            inner = getattr(node, part, [])
            caught = part == "body" and getattr(node, "handlers", [])
            if isinstance(inner, list) and not caught:  # a lambda's body is an expression
                yield from _certain_imports(inner)


def _scopes(table: symtable.SymbolTable) -> Iterator[symtable.SymbolTable]:
    for child in table.get_children():
        yield child
        yield from _scopes(child)

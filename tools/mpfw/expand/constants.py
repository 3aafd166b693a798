# SPDX-License-Identifier: MIT
"""Finds the modules that hold constants only, by their shape, and what their constants are.

Such a module has a docstring, `NAME = const(expression)`, and imports of `const` and of other such
modules; nothing else. An expression may use what the module imports from those.
"""

import ast
from collections.abc import Mapping
from typing import Any

from mpfw.expand.modules import ExpandError, Module, imports, is_const


def find(modules: Mapping[str, Module]) -> dict[str, dict[str, int]]:
    """The constants of each module that holds nothing else: by dotted name, then by name.

    ExpandError for one that is no integer, cannot be computed, or is defined twice.
    """
    found = {name for name, module in modules.items() if _has_shape(module)}
    while True:
        strangers = {name for name in found if not _imported(modules[name], found)}
        if not strangers:
            break
        found -= strangers
    values = _Values({name: modules[name] for name in found})
    return {name: values.of(name) for name in sorted(found)}


def value_of(module: Module, expression: ast.expr, known: Mapping[str, object]) -> Any:
    """What the expression of a `const()` comes to; ExpandError if the build cannot know that."""
    try:
        code = compile(ast.Expression(expression), str(module.path), "eval")
        return eval(code, {**known, "__builtins__": {}})
    except Exception as error:
        raise module.error(expression, f"const() of what is no constant: {error}") from error


def _has_shape(module: Module) -> bool:
    body = module.tree.body
    if module.package:
        return False
    if body and isinstance(body[0], ast.Expr) and ast.get_docstring(module.tree) is not None:
        body = body[1:]
    assigned = [node for node in body if _is_definition(node)]
    rest = [node for node in body if not isinstance(node, (ast.Import, ast.ImportFrom))]
    return bool(assigned) and len(assigned) == len(rest)


def _is_definition(node: ast.stmt) -> bool:
    return (
        isinstance(node, ast.Assign)
        and len(node.targets) == 1
        and isinstance(node.targets[0], ast.Name)
        and is_const(node.value)
    )


def _is_import_of_const(node: ast.Import | ast.ImportFrom) -> bool:
    return isinstance(node, ast.ImportFrom) and [
        (each.name, each.asname) for each in node.names
    ] == [("const", None)]


def _imported(module: Module, found: set[str]) -> bool:
    """True if all that a module imports is `const` and modules that are among `found`."""
    for node in imports(module.tree):
        if _is_import_of_const(node):
            continue
        for each in node.names:
            if isinstance(node, ast.Import):
                good = each.name in found
            else:
                origin = module.origin(node)
                good = origin in found or f"{origin}.{each.name}".lstrip(".") in found
            if not good:
                return False
    return True


class _Values:
    def __init__(self, modules: dict[str, Module]):
        self._modules = modules
        self._known: dict[str, dict[str, int]] = {}
        self._open: list[str] = []

    def of(self, name: str) -> dict[str, int]:
        """The constants of a module, computed when first asked for."""
        if name not in self._known:
            module = self._modules[name]
            if name in self._open:
                raise module.error(module.tree, f"{name} imports itself, by way of others")
            self._open.append(name)
            self._known[name] = self._compute(module)
            self._open.pop()
        return self._known[name]

    def _compute(self, module: Module) -> dict[str, int]:
        scope: dict[str, object] = {}
        values: dict[str, int] = {}
        for node in module.tree.body:
            if isinstance(node, (ast.Import, ast.ImportFrom)) and not _is_import_of_const(node):
                for each in node.names:
                    self._import(module, node, each, scope)
            elif isinstance(node, ast.Assign) and isinstance(node.value, ast.Call):
                target = node.targets[0]
                assert isinstance(target, ast.Name)
                if target.id in scope:
                    raise module.error(node, f"{target.id} is defined twice")
                value = value_of(module, node.value.args[0], scope)
                if not isinstance(value, int):
                    raise module.error(node, f"{target.id} is no integer")
                values[target.id] = scope[target.id] = value
        return values

    def _import(
        self,
        module: Module,
        node: ast.Import | ast.ImportFrom,
        alias: ast.alias,
        scope: dict[str, object],
    ) -> None:
        if isinstance(node, ast.Import):
            path = [alias.asname] if alias.asname else alias.name.split(".")
            self._mount(scope, path, alias.name)
            return
        origin = module.origin(node)
        whole = f"{origin}.{alias.name}".lstrip(".")
        bound = alias.asname or alias.name
        if whole in self._modules:
            self._mount(scope, [bound], whole)
        elif alias.name in self.of(origin):
            scope[bound] = self.of(origin)[alias.name]
        else:
            raise module.error(alias, f"{origin} has no {alias.name}")

    def _mount(self, scope: dict[str, object], path: list[str], name: str) -> None:
        """Make the module `name` what the dotted `path` means in `scope`."""
        for part in path[:-1]:
            inner = scope.setdefault(part, _Space(part))
            if not isinstance(inner, _Space):
                raise ExpandError(f"{self._modules[name].path}:1: {part} is a constant, too")
            scope = vars(inner)
        space = _Space(name)
        vars(space).update(self.of(name))
        scope[path[-1]] = space


class _Space:
    """A module, in an expression that is evaluated."""

    def __init__(self, name: str):
        self.__name__ = name

    def __getattr__(self, name: str) -> int:
        raise AttributeError(f"{self.__name__} has no {name}")

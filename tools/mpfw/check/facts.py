# SPDX-License-Identifier: MIT
"""A fact stands once: what a constants-only module defines is defined nowhere else.

A constants-only module holds a docstring, imports, and lines `NAME = const(...)`. Its names are
its own (an underscore in front makes no other name):

- no other frozen module defines such a name, unless from that module's (a module of a layer
  below, which may not import it, has facts of its own);
- nothing in tests/ and tools/ defines such a name with the same number.

Defining is assigning in a module or in a class.
"""

import ast
from collections.abc import Iterator
from pathlib import Path

from mpfw.check.layers import rank
from mpfw.check.sources import (
    Finding,
    Module,
    firmware_modules,
    imports,
    parse,
    python_files,
    target,
)

OUTSIDE = ("tests", "tools")

Owned = dict[str, tuple[str, int | None]]  # name -> the module that owns it, its number


def check(tree: Path) -> Iterator[Finding]:
    """Names that are defined twice."""
    modules = firmware_modules(tree)
    known = {module.name for module in modules}
    constants = {module.name for module in modules if is_constants_only(module)}
    owned: Owned = {}
    for module in sorted(modules, key=lambda one: (-rank(one.top), one.name)):
        if module.name in constants:
            seen = set()
            for name, line, value in _definitions(module.body):
                if name in seen:
                    yield _again(module.path, line, name, module.name)
                seen.add(name)
                if not _sources(module, known, value) & constants:
                    owned.setdefault(name, (module.name, _number(value)))
    for module in modules:
        yield from _inside(module, known, owned)
    yield from _outside(tree, owned)


def is_constants_only(module: Module) -> bool:
    """Whether a module is nothing but a docstring, imports and constants."""
    found = False
    for node in module.body.body:
        if isinstance(node, ast.Assign):
            if not _is_const(node.value):
                return False
            found = True
        elif not isinstance(node, ast.Import | ast.ImportFrom) and not _is_docstring(node):
            return False
    return found


def _is_const(value: ast.expr) -> bool:
    return (
        isinstance(value, ast.Call)
        and isinstance(value.func, ast.Name)
        and value.func.id == "const"
    )


def _is_docstring(node: ast.stmt) -> bool:
    return isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant)


def _inside(module: Module, known: set[str], owned: Owned) -> Iterator[Finding]:
    for name, line, value in _definitions(module.body):
        owner, _ = owned.get(name, (module.name, None))
        may_import = rank(owner.partition(".")[0]) >= rank(module.top)
        if owner != module.name and may_import and owner not in _sources(module, known, value):
            yield _again(module.path, line, name, owner)


def _sources(module: Module, known: set[str], value: ast.expr) -> set[str]:
    """The modules whose names an expression uses."""
    bound = {one.bound: target(one, known) for one in imports(module)}
    used = {node.id for node in ast.walk(value) if isinstance(node, ast.Name)}
    return {bound[name] for name in used & bound.keys()}


def _outside(tree: Path, owned: Owned) -> Iterator[Finding]:
    for path in python_files(tree, *OUTSIDE):
        for name, line, value in _definitions(parse(tree, path)):
            owner, number = owned.get(name, ("", None))
            if number is not None and number == _number(value):
                yield _again(str(path.relative_to(tree)), line, name, owner)


def _again(path: str, line: int, name: str, owner: str) -> Finding:
    return Finding(path, line, f"{name} is defined again: it is {owner}'s")


def _definitions(body: ast.Module) -> Iterator[tuple[str, int, ast.expr]]:
    """(name without underscores, line, value) of the assignments of a module and its classes."""
    scopes: list[ast.Module | ast.ClassDef] = [body]
    scopes += [node for node in ast.walk(body) if isinstance(node, ast.ClassDef)]
    for scope in scopes:
        for node in scope.body:
            if isinstance(node, ast.Assign):
                for one in node.targets:
                    yield from _pairs(one, node.value)


def _pairs(one: ast.expr, value: ast.expr) -> Iterator[tuple[str, int, ast.expr]]:
    if isinstance(one, ast.Name):
        yield one.id.lstrip("_"), one.lineno, value
    elif isinstance(one, ast.Tuple):
        values = value.elts if isinstance(value, ast.Tuple) else [value] * len(one.elts)
        for part, its in zip(one.elts, values, strict=False):
            yield from _pairs(part, its)


def _number(value: ast.expr) -> int | None:
    """The value of an expression of integer literals; None for any other."""
    if _is_const(value):
        assert isinstance(value, ast.Call)
        value = value.args[0]
    allowed = (ast.BinOp, ast.UnaryOp, ast.Constant, ast.operator, ast.unaryop)
    if not all(isinstance(node, allowed) for node in ast.walk(value)):
        return None
    try:
        found = eval(compile(ast.Expression(value), "", "eval"), {"__builtins__": {}})
    except (ArithmeticError, TypeError, ValueError):
        return None
    return found if isinstance(found, int) else None

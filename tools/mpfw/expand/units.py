# SPDX-License-Identifier: MIT
"""What the names of a module mean to one that inlines: its functions, constants and imports."""

import ast
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field

from mpfw.expand.constants import value_of
from mpfw.expand.modules import Module, imports, is_const

MARK = "inline"


@dataclass
class Unit(Module):
    """A module, and what its names mean."""

    constants: dict[str, int] = field(default_factory=dict)
    functions: dict[str, ast.FunctionDef] = field(default_factory=dict)  # marked, "f" or "C.f"
    imports: dict[str, tuple[str, str | None]] = field(default_factory=dict)  # not in functions
    names: set[str] = field(default_factory=set)  # what the module itself binds
    variables: set[str] = field(default_factory=set)  # of these, what functions assign
    extra: dict[str, tuple[str, str]] = field(default_factory=dict)  # imports that expansion needs


def units(modules: Mapping[str, Module]) -> dict[str, Unit]:
    """The modules with what their names mean."""
    found = {}
    for name, module in modules.items():
        unit = Unit(module.name, module.path, module.place, module.source, module.tree)
        unit.imports = imported(unit, imports(unit.tree, definitions=False))
        for each in ast.walk(unit.tree):
            if isinstance(each, ast.Global):
                unit.variables.update(each.names)
        for node in unit.tree.body:
            _take_definition(unit, node)
        found[name] = unit
    return found


def imported(
    module: Module, statements: Iterable[ast.Import | ast.ImportFrom]
) -> dict[str, tuple[str, str | None]]:
    """What import statements bind: the module, and its name that is meant, or None for itself."""
    found: dict[str, tuple[str, str | None]] = {}
    for node in statements:
        for name in node.names:
            if isinstance(node, ast.ImportFrom):
                found[name.asname or name.name] = (module.origin(node), name.name)
            else:
                found[name.asname or name.name] = (name.name, None)
    return found


def _take_definition(unit: Unit, node: ast.stmt) -> None:
    if isinstance(node, ast.Assign) and isinstance(node.targets[0], ast.Name):
        name = node.targets[0].id
        unit.names.add(name)
        if isinstance(node.value, ast.Call) and is_const(node.value):
            unit.constants[name] = value_of(unit, node.value.args[0], unit.constants)
    elif isinstance(node, ast.FunctionDef):
        unit.names.add(node.name)
        if has_decorator(node, MARK):
            unit.functions[node.name] = node
    elif isinstance(node, ast.ClassDef):
        unit.names.add(node.name)
        for member in node.body:
            if isinstance(member, ast.FunctionDef) and has_decorator(member, MARK):
                unit.functions[f"{node.name}.{member.name}"] = member


def has_decorator(function: ast.FunctionDef, decorator: str) -> bool:
    """True if a function is decorated with that dotted name."""
    return any(ast.unparse(each) == decorator for each in function.decorator_list)


def is_viper(function: ast.FunctionDef) -> bool:
    """True for what MicroPython compiles to native code with native types."""
    return has_decorator(function, "micropython.viper")


def local_names(function: ast.FunctionDef) -> set[str]:
    """What a function binds: its parameters, and what it assigns; not what it imports."""
    found = {each.arg for each in ast.walk(function.args) if isinstance(each, ast.arg)}
    for node in ast.walk(function):
        if isinstance(node, ast.Name) and not isinstance(node.ctx, ast.Load):
            found.add(node.id)
        elif isinstance(node, ast.ExceptHandler) and node.name:
            found.add(node.name)
    return found

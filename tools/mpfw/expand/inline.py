# SPDX-License-Identifier: MIT
"""Puts the bodies of functions marked `@inline` (mpy_modules/inline.py) in place of their calls.

MicroPython's viper code calls a function by making objects of the arguments and integers of those
again. The sources have small functions, which keep each invariant in one place; what is frozen has
their bodies in place of the calls. Without that a round trip took 74 us under TCG, with it 65.

What it asks of an `@inline` function, or of a method that is called `Class.method(object, ...)`:

- it and its callers are `@micropython.viper`; calls from other code stay calls;
- positional parameters; no nested function, no `global`, no `return` inside a loop, and either
  it ends with a `return` on every way and each has a value, or none has.

lower.py says where a call may stand. Anything else is an ExpandError, which names the place. Lines
of code that is not expanded keep their numbers, which tracebacks print: expanded functions move to
the end of the module.
"""

import ast
import copy
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from mpfw.expand import body
from mpfw.expand.edits import Edits
from mpfw.expand.lower import Lowering
from mpfw.expand.modules import ExpandError, Module, imports
from mpfw.expand.units import MARK, Unit, has_decorator, imported, is_viper, local_names, units


@dataclass
class Piece:
    """A viper function of a module, and what becomes of it."""

    owner: str | None  # its class
    source: ast.FunctionDef
    result: ast.FunctionDef  # without the mark, calls expanded
    changed: bool
    marked: bool


@dataclass(frozen=True, order=True)
class Place:
    """A call that was expanded."""

    callee: str  # dotted, with its module
    caller: str  # where the body went
    line: int


class Expander:
    """Expands the calls of all modules; `texts` gives what to freeze."""

    def __init__(self, modules: Mapping[str, Module]):
        self.units = units(modules)
        self.places: dict[str, list[Place]] = {}  # what was expanded, by the caller
        self._bodies: dict[tuple[str, str], ast.FunctionDef] = {}
        self._open: list[tuple[str, str]] = []  # being expanded, to find recursion

    def texts(self) -> dict[Path, str]:
        """The modules' sources with all calls expanded, by their place in the tree.

        A marked function that nobody calls any more is left out.
        """
        pieces = {unit.name: self._pieces(unit) for unit in self.units.values()}
        used: set[str] = set()
        for unit in self.units.values():
            viper = {id(piece.source) for piece in pieces[unit.name]}
            _note_names(unit.tree, viper, used)
        waiting = [piece for each in pieces.values() for piece in each]
        while True:
            self._note_aliases(used)
            kept = [each for each in waiting if not each.marked or each.source.name in used]
            if not kept:
                break
            for piece in kept:
                _note_names(piece.result, set(), used)
                waiting.remove(piece)
        unused = {id(piece.source) for piece in waiting}
        return {
            unit.place: _text(unit, self._imports_of(unit, unused), pieces[unit.name], unused)
            for unit in self.units.values()
        }

    def _note_aliases(self, used: set[str]) -> None:
        """Add what goes by another name where it is used."""
        for unit in self.units.values():
            for node in imports(unit.tree):
                used.update(each.name for each in node.names if each.asname in used)

    def _imports_of(self, unit: Unit, unused: set[int]) -> str:
        """The source without imports of functions that are left out."""
        edits = Edits(unit.source)
        for node in imports(unit.tree):
            kept = []
            for alias in node.names:
                origin = unit.origin(node) if isinstance(node, ast.ImportFrom) else ""
                known = self.units[origin].functions if origin in self.units else {}
                if alias.name not in known or id(known[alias.name]) not in unused:
                    kept.append(alias)
            if kept != node.names:
                edits.keep_names(node, kept, node in unit.tree.body)
        return edits.text()

    def _pieces(self, unit: Unit) -> list[Piece]:
        pieces = []
        for node in unit.tree.body:
            owner = node.name if isinstance(node, ast.ClassDef) else None
            for function in node.body if isinstance(node, ast.ClassDef) else [node]:
                if isinstance(function, ast.FunctionDef) and is_viper(function):
                    result, changed = self._expanded(unit, owner, function)
                    marked = has_decorator(result, MARK)
                    result.decorator_list = [
                        each for each in result.decorator_list if ast.unparse(each) != MARK
                    ]
                    pieces.append(Piece(owner, function, result, changed, marked))
        return pieces

    def _expanded(
        self, unit: Unit, owner: str | None, function: ast.FunctionDef
    ) -> tuple[ast.FunctionDef, bool]:
        """A copy of a function without the calls, and whether there were any."""
        site = _Site(self, unit, owner, function)
        calls = [node for node in ast.walk(function) if isinstance(node, ast.Call)]
        result = copy.copy(function)
        if any(map(site.is_inline, calls)):
            result.body = Lowering(site).block(copy.deepcopy(function.body))
        self.places[site.name] = site.places
        return result, bool(site.places)

    def target(self, site: "_Site", call: ast.Call) -> tuple[Unit, str] | None:
        """The module and name of the @inline function that is called, or None."""
        parts = ast.unparse(call.func).split(".")
        unit = site.unit
        if parts[0] in site.local:
            return None
        if parts[0] not in site.imports:
            found = unit
        else:
            origin, name = site.imports[parts[0]]
            inner = self.module_named(site.imports, parts[0])
            if inner is not None:
                found, parts = inner, parts[1:]
            elif name is not None and origin in self.units:
                found, parts = self.units[origin], [name, *parts[1:]]
            else:
                return None
        name = ".".join(parts)
        return (found, name) if name in found.functions else None

    def module_named(self, known: Mapping[str, tuple[str, str | None]], name: str) -> Unit | None:
        """The module that was imported by that name, among the names that are `known`."""
        if name not in known:
            return None
        origin, original = known[name]
        return self.units.get(f"{origin}.{original}".lstrip(".") if original else origin)

    def body(self, unit: Unit, name: str) -> ast.FunctionDef:
        """The marked function, itself expanded and checked."""
        key = (unit.name, name)
        if key not in self._bodies:
            function = unit.functions[name]
            if key in self._open:
                raise unit.error(function, f"{name} is expanded in itself")
            if not is_viper(function):
                raise unit.error(function, f"{name} is @inline but not viper")
            self._open.append(key)
            expanded, _ = self._expanded(unit, name.rpartition(".")[0] or None, function)
            self._open.pop()
            if ast.get_docstring(function, clean=False) is not None:
                expanded.body = expanded.body[1:]
            body.check(unit, expanded)
            self._bodies[key] = expanded
        return self._bodies[key]


class _Site:
    """A function that calls: what Lowering and the bodies ask about it."""

    def __init__(
        self, expander: Expander, unit: Unit, owner: str | None, function: ast.FunctionDef
    ):
        self.unit = unit
        self.name = ".".join(filter(None, [unit.name, owner, function.name]))
        self.places: list[Place] = []
        self.local = local_names(function)
        self.variables = unit.variables
        self.imports = {k: v for k, v in unit.imports.items() if k not in unit.names}
        self.imports |= imported(unit, imports(function))
        self.constants = {k: v for k, v in unit.constants.items() if k not in self.local}
        self._expander = expander

    def is_inline(self, call: ast.Call) -> bool:
        return self._expander.target(self, call) is not None

    def error(self, node: ast.AST, why: str) -> ExpandError:
        return self.unit.error(node, why)

    def expand(self, call: ast.Call, wanted: bool) -> tuple[list[ast.stmt], ast.Name]:
        target = self._expander.target(self, call)
        assert target is not None
        callee, name = target
        function = self._expander.body(callee, name)
        if len(call.args) != len(function.args.args) or call.keywords:
            count = len(function.args.args)
            raise self.error(call, f"{name} takes {count} positional arguments")
        returns = [node for node in ast.walk(function) if isinstance(node, ast.Return)]
        if wanted and not (returns and returns[0].value):
            raise self.error(call, f"{name} returns nothing")
        self.places.append(Place(f"{callee.name}.{name}", self.name, call.lineno))
        made = body.Copy(callee, name, function)
        return made.statements(call, self), ast.Name(made.result, ast.Load())

    def module_named(self, callee: Unit, name: str) -> Unit | None:
        return self._expander.module_named(callee.imports, name)

    def outside(self, callee: Unit, name: str, node: ast.Name | ast.Attribute) -> ast.expr:
        known = {k: v for k, v in callee.imports.items() if k not in callee.names} | callee.extra
        meant: tuple[str, str | None] = known.get(name, (callee.name, name))
        if callee is self.unit or not (name in callee.names or name in known):
            # The same name here: of this module, or a builtin.
            if name in self.local:
                why = f"the local {name} of {self.name} hides what this means"
                raise callee.error(node, why)
            return ast.Name(name, ast.Load())
        origin, original = meant
        if original is None or f"{origin}.{original}".lstrip(".") in self._expander.units:
            why = f"{name} is a module: @inline code needs a name of it"
            raise callee.error(node, why)
        for mine, meaning in self.imports.items():
            if meaning == meant and mine not in self.local:
                return ast.Name(mine, ast.Load())
        if self.unit.name == origin and original not in self.local:
            return ast.Name(original, ast.Load())
        short = "_" + origin.rpartition(".")[2] + "_" + original.strip("_")
        self.unit.extra[short] = (origin, original)
        return ast.Name(short, ast.Load())


def _note_names(tree: ast.AST, without: set[int], names: set[str]) -> None:
    """Add every name that `tree` mentions, but for the nodes `without`."""
    for node in ast.iter_child_nodes(tree):
        if id(node) in without:
            continue
        if isinstance(node, ast.Name):
            names.add(node.id)
        elif isinstance(node, ast.Attribute):
            names.add(node.attr)
        _note_names(node, without, names)


# -- the text of a module --


def _text(unit: Unit, source: str, pieces: list[Piece], unused: set[int]) -> str:
    lines = source.removesuffix("\n").split("\n")
    moved = []
    for piece in pieces:
        if id(piece.source) in unused:
            _blank(lines, piece.source)
        elif piece.changed:
            _blank(lines, piece.source)
            moved.append(piece)
        elif piece.marked:
            _blank_mark(lines, piece.source)
    gone = unused | {id(piece.source) for piece in moved}
    for node in unit.tree.body:
        if isinstance(node, ast.ClassDef) and all(id(member) in gone for member in node.body):
            # What is moved comes back at the end.
            lines[node.body[0].lineno - 1] = " " * node.body[0].col_offset + "pass"
    lines = ["" if line == f"from {MARK} import {MARK}" else line for line in lines]
    text = "\n".join(lines) + "\n"
    for name, (origin, original) in sorted(unit.extra.items()):
        text += f"from {origin} import {original} as {name}\n"
    for piece in moved:
        text += "\n" + _definition(piece.owner, piece.result)
    return text


def _blank(lines: list[str], function: ast.FunctionDef) -> None:
    """Take a function out of the text, and leave its lines."""
    first = min([function.lineno, *(each.lineno for each in function.decorator_list)])
    assert function.end_lineno is not None
    for number in range(first - 1, function.end_lineno):
        lines[number] = ""


def _blank_mark(lines: list[str], function: ast.FunctionDef) -> None:
    for each in function.decorator_list:
        if ast.unparse(each) == MARK:
            lines[each.lineno - 1] = ""


def _definition(owner: str | None, function: ast.FunctionDef) -> str:
    """The text of an expanded function, for the end of a module."""
    if owner is None:
        return ast.unparse(ast.fix_missing_locations(function)) + "\n"
    name = function.name
    function.name = f"_{owner}_{name}"
    text = ast.unparse(ast.fix_missing_locations(function)) + "\n"
    return text + f"{owner}.{name} = {function.name}\ndel {function.name}\n"

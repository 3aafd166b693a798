# SPDX-License-Identifier: MIT
"""Puts numbers in the place of names that come from modules of constants.

MicroPython folds `const()` within a module only. With this, a number that several modules need is
defined once, in a module that holds constants only (constants.py says which are such): in all
others its names become numbers, in place, and it is not frozen itself. Nothing else of a text
changes, and no line its number.

A constant is found where it comes from an import at the base of a name: `STATE`, `words.STATE`,
`vsock.words.STATE`, also by way of another module that imports it. What would need it when the
program runs is an ExpandError: the module as an object, a name in an f-string, in `import *`.
"""

import ast
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import Enum

from mpfw.expand import constants
from mpfw.expand.edits import Edits
from mpfw.expand.modules import Module, imports
from mpfw.expand.scopes import Binding, Kind, Names, Scope, read_names


@dataclass(frozen=True)
class Constant:
    """A name of a module of constants."""

    module: str
    value: int


@dataclass(frozen=True)
class Reference:
    """A module, as a value of a name."""

    module: str


Meaning = Constant | Reference | None


@dataclass
class Folded:
    """The modules to freeze, and what was folded in each."""

    modules: dict[str, Module]
    counts: dict[str, Counter[str]] = field(default_factory=dict)  # module, then where it is from


def fold(modules: Mapping[str, Module]) -> Folded:
    """The modules with all such names folded; those that hold constants only are left out."""
    for module in modules.values():
        for statement in imports(module.tree):
            if any(each.name == "*" for each in statement.names):
                raise module.error(statement, "import * hides where names come from: list them")
    folder = _Folder(modules)
    result = Folded({})
    for name, module in modules.items():
        if name in folder.constants:
            continue
        edits, counts = folder.edits(module)
        result.modules[name] = module.with_text(edits.text()) if edits else module
        result.counts[name] = counts
    return result


class _Folder:
    def __init__(self, modules: Mapping[str, Module]):
        self._modules = modules
        self.constants = constants.find(modules)
        self._names = {
            name: read_names(module.tree)
            for name, module in modules.items()
            if name not in self.constants
        }

    def edits(self, module: Module) -> tuple[Edits, Counter[str]]:
        """What to change in a module's text, and how many names of which modules that folds."""
        names = self._names[module.name]
        edits = Edits(module.source)
        counts: Counter[str] = Counter()
        for scope in names.scopes:
            self._check_bindings(module, names, scope)
        for statement in imports(module.tree):
            self._edit_import(module, names, edits, statement)
        for scope, use in names.uses:
            found = self._folded(module, names, scope, use)
            if found is not None:
                node, constant = found
                number = repr(constant.value)
                if constant.value < 0 or isinstance(names.parents[node], ast.Attribute):
                    number = f"({number})"
                edits.replace(node, number)
                counts[constant.module] += 1
        return edits, counts

    # -- what a name means --

    def _meaning(
        self, module: Module, bindings: list[Binding], seen: set[tuple[str, str]] | None = None
    ) -> Meaning:
        """What a name is that a scope binds so; None: neither a constant nor a module."""
        seen = seen or set()
        meanings = {self._imported(module, each, seen) for each in bindings}
        return meanings.pop() if len(meanings) == 1 else None

    def _imported(self, module: Module, binding: Binding, seen: set[tuple[str, str]]) -> Meaning:
        alias, statement = binding.node, binding.statement
        if not isinstance(alias, ast.alias):
            return None
        if isinstance(statement, ast.ImportFrom):
            return self._attribute(module, alias, module.origin(statement), alias.name, seen)
        return Reference(alias.name if alias.asname else alias.name.partition(".")[0])

    def _attribute(
        self, module: Module, node: ast.AST, origin: str, name: str, seen: set[tuple[str, str]]
    ) -> Meaning:
        """What `name` of the module `origin` is; `node` of `module` asks."""
        if origin in self.constants:
            if name not in self.constants[origin]:
                raise module.error(node, f"{origin} has no {name}")
            return Constant(origin, self.constants[origin][name])
        if origin in self._names and (origin, name) not in seen:
            bindings = self._names[origin].module.bound.get(name)
            if bindings:
                return self._meaning(self._modules[origin], bindings, seen | {(origin, name)})
        inner = f"{origin}.{name}".lstrip(".")
        return Reference(inner) if inner in self._modules else None

    def _lost(self, module: Module, binding: Binding) -> str | None:
        """What of an import is not there when the program runs, or None."""
        alias = binding.node
        if isinstance(binding.statement, ast.Import) and isinstance(alias, ast.alias):
            return alias.name if alias.name in self.constants else None
        meaning = self._imported(module, binding, set())
        if isinstance(meaning, Constant):
            return meaning.module
        return meaning.module if meaning and meaning.module in self.constants else None

    def _folded(
        self, module: Module, names: Names, scope: Scope, use: ast.Name
    ) -> tuple[ast.expr, Constant] | None:
        """The expression that begins with the name `use` and is a constant, and that constant."""
        owner = scope.owner(use.id)
        order = _Order.BEFORE
        if owner is not None and owner.kind is Kind.CLASS:
            order = _order(names, owner, use)
            owner = scope.module()
        if owner is None or use.id not in owner.bound or order is _Order.AFTER:
            return None
        node: ast.expr = use
        meaning = self._meaning(module, owner.bound[use.id])
        parent = names.parents[node]
        while isinstance(meaning, Reference) and isinstance(parent, ast.Attribute):
            meaning = self._attribute(module, parent, meaning.module, parent.attr, set())
            node, parent = parent, names.parents[parent]
        if (
            meaning is None
            or isinstance(meaning, Reference)
            and (meaning.module not in self.constants)
        ):
            return None
        if order is _Order.UNCLEAR:
            raise module.error(use, f"{use.id} is a name of the class and a constant")
        if isinstance(meaning, Reference):
            raise module.error(node, f"{meaning.module} holds constants only: it is no object")
        _check_place(module, names, node)
        return node, meaning

    # -- imports --

    def _check_bindings(self, module: Module, names: Names, scope: Scope) -> None:
        """Raise ExpandError if a scope gives a constant's name another meaning as well."""
        for name, bindings in scope.bound.items():
            lost = {self._lost(module, each) for each in bindings} - {None}
            if not lost:
                continue
            if scope.kind is Kind.CLASS:
                raise module.error(bindings[0].node, "constants are not imported in a class body")
            meanings = {self._imported(module, each, set()) for each in bindings}
            others = [each for each in bindings if not each.statement] or bindings[1:]
            if len(meanings) > 1:
                raise module.error(
                    others[0].node,
                    f"{name} comes from {lost.pop()}: nothing else can have that name",
                )

    def _edit_import(
        self, module: Module, names: Names, edits: Edits, node: ast.Import | ast.ImportFrom
    ) -> None:
        kept = []
        for alias in node.names:
            if not self._lost(module, Binding(alias, node)):
                kept.append(alias)
            elif isinstance(node, ast.Import) and not alias.asname:
                package = alias.name.rpartition(".")[0]
                while package and package not in self._names:
                    package = package.rpartition(".")[0]
                if package:
                    kept.append(ast.alias(package))
        if kept != node.names:
            edits.keep_names(node, kept, isinstance(names.parents[node], ast.Module))


class _Order(Enum):
    """When a class body reads a name that it binds itself."""

    BEFORE = "before"
    AFTER = "after"
    UNCLEAR = "unclear"


def _order(names: Names, scope: Scope, use: ast.Name) -> _Order:
    """Does a class body read a name before it has its own of that name?"""
    assert isinstance(scope.node, ast.ClassDef)
    body = scope.node.body

    def index(node: ast.AST) -> int:
        while names.parents[node] is not scope.node:
            node = names.parents[node]
        return body.index(node)  # type: ignore[arg-type]

    bindings = scope.bound[use.id]
    if any(isinstance(getattr(each.node, "ctx", None), ast.Del) for each in bindings):
        return _Order.UNCLEAR
    first = min(index(each.node) for each in bindings)
    statement = body[first]
    plain = isinstance(statement, (ast.FunctionDef, ast.ClassDef, ast.Import, ast.ImportFrom)) or (
        isinstance(statement, ast.Assign)
        and len(statement.targets) == 1
        and isinstance(statement.targets[0], ast.Name)
        and statement.targets[0].id == use.id
    )
    if not plain:
        return _Order.UNCLEAR
    return _Order.BEFORE if index(use) <= first else _Order.AFTER


def _check_place(module: Module, names: Names, node: ast.expr) -> None:
    """Raise ExpandError if a number cannot stand where `node` does."""
    if not isinstance(getattr(node, "ctx", None), ast.Load):
        raise module.error(node, f"{ast.unparse(node)} is a constant: it stays what it is")
    parent: ast.AST = node
    while not isinstance(parent, ast.stmt):
        parent = names.parents[parent]
        # Before Python 3.12 nothing in an f-string knows its place.
        if isinstance(parent, ast.JoinedStr):
            why = f"{ast.unparse(node)} is a constant in an f-string: give the f-string a variable"
            raise module.error(parent, why)

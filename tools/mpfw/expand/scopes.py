# SPDX-License-Identifier: MIT
"""Whose a name is: the scopes of a module, what each binds, and every use of a name.

These are Python's rules. A class body is seen by its own statements alone, not by its methods; a
comprehension is a function, but its first iterable, and what `:=` binds in it, are outside; the
defaults, decorators and annotations of a function belong to what surrounds it.
"""

import ast
from dataclasses import dataclass, field
from enum import Enum

_Function = ast.FunctionDef | ast.AsyncFunctionDef
_Comprehension = ast.ListComp | ast.SetComp | ast.DictComp | ast.GeneratorExp


class Kind(Enum):
    """What makes a scope."""

    MODULE = "module"
    CLASS = "class"
    FUNCTION = "function"
    COMPREHENSION = "comprehension"


@dataclass
class Binding:
    """A place that binds a name: `node` is the name's own, the alias of an import for instance."""

    node: ast.AST
    statement: ast.stmt | None = None  # the import, if it is one


@dataclass
class Scope:
    """One scope; `bound` has what is bound in it, by `global` from elsewhere, too."""

    kind: Kind
    node: ast.AST
    parent: "Scope | None" = None
    bound: dict[str, list[Binding]] = field(default_factory=dict)
    declared: dict[str, str] = field(default_factory=dict)  # name: "global" or "nonlocal"

    def owner(self, name: str) -> "Scope | None":
        """The scope whose `name` is meant here; None: none binds it."""
        scope = self
        while scope.declared.get(name) != "global":
            if name in scope.bound and name not in scope.declared:
                return scope
            if scope.parent is None:
                return None
            scope = scope.parent
            while scope.kind is Kind.CLASS and scope.parent is not None:
                scope = scope.parent
        module = scope.module()
        return module if name in module.bound else None

    def module(self) -> "Scope":
        """The module's scope."""
        scope = self
        while scope.parent is not None:
            scope = scope.parent
        return scope


@dataclass
class Names:
    """What `read_names` finds."""

    module: Scope
    scopes: list[Scope]
    uses: list[tuple[Scope, ast.Name]]  # every name that is read
    parents: dict[ast.AST, ast.AST]


def read_names(tree: ast.Module) -> Names:
    """The scopes and the uses of names of a module."""
    reader = _Reader(tree)
    reader.visit_all(tree.body)
    reader.hand_over()
    parents = {child: node for node in ast.walk(tree) for child in ast.iter_child_nodes(node)}
    return Names(reader.module, reader.scopes, reader.uses, parents)


class _Reader(ast.NodeVisitor):
    def __init__(self, tree: ast.Module):
        self.module = self._scope = Scope(Kind.MODULE, tree)
        self.scopes = [self.module]
        self.uses: list[tuple[Scope, ast.Name]] = []

    def visit_all(self, nodes: list) -> None:  # type: ignore[type-arg]
        """Visit nodes; None among them is skipped."""
        for node in nodes:
            if node is not None:
                self.visit(node)

    def hand_over(self) -> None:
        """Give what a scope binds for another one, by `global` or `nonlocal`, to that one."""
        for scope in self.scopes:
            for name, how in scope.declared.items():
                bindings = scope.bound.pop(name, [])
                if not bindings:
                    continue
                owner = scope.module() if how == "global" else scope.owner(name)
                if owner is not None:
                    owner.bound.setdefault(name, []).extend(bindings)

    def _bind(self, name: str, node: ast.AST, statement: ast.stmt | None = None) -> None:
        self._scope.bound.setdefault(name, []).append(Binding(node, statement))

    def _enter(self, kind: Kind, node: ast.AST) -> Scope:
        """Make a scope the present one; returns the one to go back to."""
        before = self._scope
        self._scope = Scope(kind, node, before)
        self.scopes.append(self._scope)
        return before

    # -- what binds or uses a name --

    def visit_Name(self, node: ast.Name) -> None:
        if isinstance(node.ctx, ast.Load):
            self.uses.append((self._scope, node))
        else:
            self._bind(node.id, node)

    def visit_AugAssign(self, node: ast.AugAssign) -> None:
        if isinstance(node.target, ast.Name):
            self.uses.append((self._scope, node.target))
        self.generic_visit(node)

    def visit_NamedExpr(self, node: ast.NamedExpr) -> None:
        self.visit(node.value)
        here = self._scope
        while self._scope.kind is Kind.COMPREHENSION and self._scope.parent is not None:
            self._scope = self._scope.parent
        self.visit(node.target)
        self._scope = here

    def visit_Import(self, node: ast.Import) -> None:
        for alias in node.names:
            self._bind(alias.asname or alias.name.partition(".")[0], alias, node)

    def visit_ImportFrom(self, node: ast.ImportFrom) -> None:
        for alias in node.names:
            self._bind(alias.asname or alias.name, alias, node)

    def visit_ExceptHandler(self, node: ast.ExceptHandler) -> None:
        if node.name:
            self._bind(node.name, node)
        self.generic_visit(node)

    def visit_Global(self, node: ast.Global) -> None:
        for name in node.names:
            self._scope.declared[name] = "global"

    def visit_Nonlocal(self, node: ast.Nonlocal) -> None:
        for name in node.names:
            self._scope.declared[name] = "nonlocal"

    # -- what makes a scope --

    def visit_FunctionDef(self, node: _Function) -> None:
        self.visit_all(node.decorator_list)
        self._arguments_outside(node.args)
        self.visit_all([node.returns])
        self._bind(node.name, node)
        self._function(node, node.args, node.body)

    visit_AsyncFunctionDef = visit_FunctionDef

    def visit_Lambda(self, node: ast.Lambda) -> None:
        self._arguments_outside(node.args)
        self._function(node, node.args, [node.body])

    def _arguments_outside(self, arguments: ast.arguments) -> None:
        self.visit_all([*arguments.defaults, *arguments.kw_defaults])
        self.visit_all([each.annotation for each in _parameters(arguments)])

    def _function(self, node: ast.AST, arguments: ast.arguments, body: list) -> None:  # type: ignore[type-arg]
        before = self._enter(Kind.FUNCTION, node)
        for each in _parameters(arguments):
            self._bind(each.arg, each)
        self.visit_all(body)
        self._scope = before

    def visit_ClassDef(self, node: ast.ClassDef) -> None:
        self.visit_all([*node.decorator_list, *node.bases, *node.keywords])
        self._bind(node.name, node)
        before = self._enter(Kind.CLASS, node)
        self.visit_all(node.body)
        self._scope = before

    def _comprehension(self, node: _Comprehension) -> None:
        self.visit(node.generators[0].iter)
        before = self._enter(Kind.COMPREHENSION, node)
        for number, each in enumerate(node.generators):
            self.visit_all([each.iter] if number else [])
            self.visit_all([each.target, *each.ifs])
        if isinstance(node, ast.DictComp):
            self.visit_all([node.key, node.value])
        else:
            self.visit(node.elt)
        self._scope = before

    visit_ListComp = visit_SetComp = visit_DictComp = visit_GeneratorExp = _comprehension


def _parameters(arguments: ast.arguments) -> list[ast.arg]:
    named = [*arguments.posonlyargs, *arguments.args, *arguments.kwonlyargs]
    return named + [each for each in (arguments.vararg, arguments.kwarg) if each is not None]

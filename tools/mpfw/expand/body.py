# SPDX-License-Identifier: MIT
"""Makes of an `@inline` function's body what can stand in another function."""

import ast
import copy
from typing import Protocol

from mpfw.expand.units import Unit, local_names

# What the viper compiler knows by its name, wherever a module says that it comes from.
_TYPES = {"int", "uint", "bool", "ptr", "ptr8", "ptr16", "ptr32", "ptr_obj", "len", "range"}
_LOOPS = (ast.While, ast.For)
_REFUSED = (
    *(ast.Global, ast.Nonlocal, ast.Try, ast.With, ast.Import, ast.ImportFrom),
    *(ast.Lambda, ast.FunctionDef, ast.ClassDef),
)


class Caller(Protocol):
    """What a body must know about the function that it goes to."""

    unit: Unit
    constants: dict[str, int]  # of its module, but for those that a local name hides

    def outside(self, callee: Unit, name: str, node: ast.Name | ast.Attribute) -> ast.expr:
        """How it writes a name of the module `callee`; `node` has it there."""

    def module_named(self, callee: Unit, name: str) -> Unit | None:
        """The module that `callee` has imported by that name, if it is one of ours."""


def check(unit: Unit, function: ast.FunctionDef) -> None:
    """Raise ExpandError if a function is not of the shape that can be inlined."""
    given = set()
    loops = [node for node in ast.walk(function) if isinstance(node, _LOOPS)]
    inside = {
        id(node) for loop in loops for node in ast.walk(loop) if isinstance(node, ast.Return)
    }
    for node in ast.walk(function):
        if isinstance(node, ast.Return):
            given.add(node.value is not None)
            if id(node) in inside:
                raise unit.error(node, "return inside a loop of an @inline function")
        elif isinstance(node, _REFUSED) and node is not function:
            raise unit.error(node, f"an @inline function has no {type(node).__name__}")
    if len(given) > 1:
        raise unit.error(function, "an @inline function returns a value sometimes")
    if True in given and not _ends(function.body):
        raise unit.error(function, "an @inline function returns a value, but not at its end")
    rest = ast.arguments([], function.args.args, None, [], [], None, [])
    if ast.dump(function.args) != ast.dump(rest):
        raise unit.error(function, "an @inline function has positional parameters only")


def _ends(body: list[ast.stmt]) -> bool:
    """True if what follows `body` is never reached."""
    last = body[-1] if body else None
    if isinstance(last, ast.If):
        return _ends(last.body) and _ends(last.orelse)
    return isinstance(last, (ast.Return, ast.Raise))


class Copy:
    """A body for one call: its own names, arguments and result."""

    def __init__(self, callee: Unit, name: str, function: ast.FunctionDef):
        self._callee = callee
        self._function = function
        self._prefix = "_" + name.replace(".", "_").strip("_") + "_"
        self._local = local_names(function)
        self.result = self._prefix + "result"

    def statements(self, call: ast.Call, caller: Caller) -> list[ast.stmt]:
        """The arguments' assignments, and the body."""
        assigned = {
            node.id
            for node in ast.walk(self._function)
            if isinstance(node, ast.Name) and isinstance(node.ctx, ast.Store)
        }
        made: list[ast.stmt] = []
        literals: dict[str, int] = {}
        for parameter, argument in zip(self._function.args.args, call.args, strict=True):
            value = _constant(argument, caller.constants)
            if value is not None and parameter.arg not in assigned:
                literals[parameter.arg] = value
                continue
            if isinstance(parameter.annotation, ast.Name):
                cast = ast.Name(parameter.annotation.id, ast.Load())
                argument = ast.Call(cast, [argument], [])
            made.append(_assign(self._prefix + parameter.arg, argument))
        rename = _Rename(caller, self._callee, self._prefix, self._local, literals)
        body = [rename.visit(copy.deepcopy(each)) for each in self._function.body]
        returns = [n for each in body for n in ast.walk(each) if isinstance(n, ast.Return)]
        if returns and returns != body[-1:]:
            body = [ast.While(ast.Constant(True), [*_leave(body, self.result), ast.Break()], [])]
        elif returns:
            body[-1:] = _leave(body[-1:], self.result)[:-1]
        return made + body


class _Rename(ast.NodeTransformer):
    """Gives a body the names that it needs elsewhere."""

    def __init__(
        self,
        caller: Caller,
        callee: Unit,
        prefix: str,
        local: set[str],
        literals: dict[str, int],
    ):
        self._caller = caller
        self._callee = callee
        self._prefix = prefix
        self._local = local
        self._literals = literals

    def visit_Name(self, node: ast.Name) -> ast.expr:
        name = node.id
        if name in self._literals:
            return ast.Constant(self._literals[name])
        if name in self._local:
            return ast.Name(self._prefix + name, node.ctx)
        if name in self._callee.constants:
            return ast.Constant(self._callee.constants[name])
        if name in _TYPES:
            return node
        return self._caller.outside(self._callee, name, node)

    def visit_Attribute(self, node: ast.Attribute) -> ast.AST:
        # A function or a constant of a module that the callee knows under a name of its own.
        if (
            isinstance(node.value, ast.Name)
            and node.value.id not in self._local
            and self._callee is not self._caller.unit
        ):
            other = self._caller.module_named(self._callee, node.value.id)
            if other is not None:
                if node.attr in other.constants:
                    return ast.Constant(other.constants[node.attr])
                return self._caller.outside(other, node.attr, node)
        return self.generic_visit(node)


def _constant(node: ast.expr, constants: dict[str, int]) -> int | None:
    """The value of an argument that is a literal or a constant of the module."""
    try:
        code = compile(ast.fix_missing_locations(ast.Expression(node)), "", "eval")
        value = eval(code, {**constants, "__builtins__": {}})
    except Exception:
        return None
    return value if isinstance(value, int) else None


def _leave(body: list[ast.stmt], result: str) -> list[ast.stmt]:
    """`return x` becomes an assignment and a `break`."""
    changed: list[ast.stmt] = []
    for statement in body:
        if isinstance(statement, ast.Return):
            if statement.value is not None:
                changed.append(_assign(result, statement.value))
            changed.append(ast.Break())
            continue
        if isinstance(statement, ast.If):
            statement.body = _leave(statement.body, result)
            statement.orelse = _leave(statement.orelse, result)
        changed.append(statement)
    return changed


def _assign(name: str, value: ast.expr) -> ast.stmt:
    return ast.Assign([ast.Name(name, ast.Store())], value)

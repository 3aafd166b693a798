# SPDX-License-Identifier: MIT
"""Takes statements apart so that an `@inline` call in them can become its body.

The body goes before the statement, or the part of it that the call stands in; its result is then a
name. What Python evaluates before the call is evaluated before it still: it moves in front, too,
into a variable. Names stay where they are, because no inlined body changes one of the caller's,
and so do names of the module, unless some function has them as `global`.

`and`, `or` and `x if c else y` become `if` where a call stands in a part that may not be
evaluated, and `while condition` becomes `while True` with a `break`. What is not taken apart is an
ExpandError: a comprehension, `a < b < call()`, a method's argument (the method would be looked up
first), `a[i] += call()`.
"""

import ast
from collections.abc import Callable
from typing import Protocol

from mpfw.expand.modules import ExpandError


class Calls(Protocol):
    """What the inliner tells and does about the calls in one function."""

    local: set[str]  # the function's names
    variables: set[str]  # names of the module that functions assign

    def is_inline(self, call: ast.Call) -> bool:
        """Is it a call of an @inline function?"""

    def expand(self, call: ast.Call, wanted: bool) -> tuple[list[ast.stmt], ast.Name]:
        """What does the call's work, and what has its result then, if that is `wanted`."""

    def error(self, node: ast.AST, why: str) -> ExpandError:
        """An error in this function."""


class Lowering:
    """Expands the calls in the statements of one function."""

    def __init__(self, calls: Calls):
        self._calls = calls
        self._kept: set[str] = set()  # our own variables
        self._results: set[str] = set()  # of calls: the next one may use the same
        self._statements: dict[type[ast.stmt], Callable[..., list[ast.stmt]]] = {
            ast.Expr: self._expression_statement,
            ast.Assign: self._assignment,
            ast.AnnAssign: self._value_statement,
            ast.AugAssign: self._augmented,
            ast.Return: self._value_statement,
            ast.If: self._if,
            ast.While: self._while,
            ast.For: self._for,
            ast.Assert: self._assert,
            ast.Raise: self._raise,
        }

    def block(self, body: list[ast.stmt]) -> list[ast.stmt]:
        """Statements that do what those of `body` do, without the calls."""
        result = []
        for statement in body:
            result += self._statement(statement)
        return result

    def _statement(self, statement: ast.stmt) -> list[ast.stmt]:
        if isinstance(statement, (ast.FunctionDef, ast.AsyncFunctionDef, ast.ClassDef)):
            return [statement]  # is not viper code
        for handler in getattr(statement, "handlers", []):
            handler.body = self.block(handler.body)
        for part in ("body", "orelse", "finalbody"):
            if getattr(statement, part, None):
                setattr(statement, part, self.block(getattr(statement, part)))
        children = list(ast.iter_child_nodes(statement))
        if not any(self._has_call(each) for each in children if not isinstance(each, ast.stmt)):
            return [statement]
        if type(statement) not in self._statements:
            raise self._refuse(statement)
        return self._statements[type(statement)](statement)

    def _has_call(self, node: ast.AST) -> bool:
        if isinstance(node, (ast.stmt, ast.ExceptHandler)):
            return False  # of a block: those are done
        return any(
            isinstance(each, ast.Call) and self._calls.is_inline(each) for each in ast.walk(node)
        )

    def _refuse(self, node: ast.AST) -> ExpandError:
        what = type(node).__name__
        return self._calls.error(node, f"no @inline call in a {what}: give its value a variable")

    # -- statements --

    def _expression_statement(self, statement: ast.Expr) -> list[ast.stmt]:
        out: list[ast.stmt] = []
        call = statement.value
        if isinstance(call, ast.Call) and self._calls.is_inline(call):
            # Nobody takes the value: nothing is left of the statement.
            self._expand(call, out, False)
            return out
        statement.value = self._lower(call, out)
        return [*out, statement]

    def _value_statement(self, statement: ast.Return | ast.AnnAssign) -> list[ast.stmt]:
        out: list[ast.stmt] = []
        assert statement.value is not None
        statement.value = self._lower(statement.value, out)
        return [*out, statement]

    def _assignment(self, statement: ast.Assign) -> list[ast.stmt]:
        out: list[ast.stmt] = []
        if not any(map(self._has_call, statement.targets)):
            statement.value = self._lower(statement.value, out)
            return [*out, statement]
        target = statement.targets[0]
        if len(statement.targets) > 1 or not isinstance(target, (ast.Subscript, ast.Attribute)):
            raise self._refuse(statement)
        if isinstance(target, ast.Attribute):
            statement.value, target.value = self._in_order([statement.value, target.value], out)
        else:
            parts = [statement.value, target.value, target.slice]
            statement.value, target.value, target.slice = self._in_order(parts, out)
        return [*out, statement]

    def _augmented(self, statement: ast.AugAssign) -> list[ast.stmt]:
        if not isinstance(statement.target, ast.Name) or not self._is_stable(statement.target):
            why = "an @inline call after something else of the statement"
            raise self._calls.error(statement, f"{why}, what {ast.unparse(statement.target)} was")
        out: list[ast.stmt] = []
        statement.value = self._lower(statement.value, out)
        return [*out, statement]

    def _if(self, statement: ast.If) -> list[ast.stmt]:
        out: list[ast.stmt] = []
        split = self._split(statement.test)
        if split and isinstance(split[0].op, ast.And) and not statement.orelse:
            _, head, tail = split
            head = self._condition(head, out)
            inner = self._if(ast.copy_location(ast.If(tail, statement.body, []), statement))
            return [*out, ast.If(head, inner, [])]
        statement.test = self._condition(statement.test, out)
        return [*out, statement]

    def _while(self, statement: ast.While) -> list[ast.stmt]:
        if statement.orelse:
            why = "no else after a while with an @inline call in its condition"
            raise self._calls.error(statement, why)
        before: list[ast.stmt] = []
        test: ast.expr | None = statement.test
        while test is not None:
            split = self._split(test)
            head, rest = test, None
            if split and isinstance(split[0].op, ast.And):
                _, head, rest = split
            head = self._condition(head, before)
            before.append(ast.If(_negated(head), [ast.Break()], []))
            test = rest
        statement.test = ast.Constant(True)
        statement.body = before + statement.body
        return [statement]

    def _for(self, statement: ast.For) -> list[ast.stmt]:
        if self._has_call(statement.target):
            raise self._refuse(statement)
        out: list[ast.stmt] = []
        statement.iter = self._lower(statement.iter, out)
        return [*out, statement]

    def _assert(self, statement: ast.Assert) -> list[ast.stmt]:
        if statement.msg is not None and self._has_call(statement.msg):
            raise self._refuse(statement)
        out: list[ast.stmt] = []
        statement.test = self._condition(statement.test, out)
        return [*out, statement]

    def _raise(self, statement: ast.Raise) -> list[ast.stmt]:
        if statement.exc is None or (statement.cause and self._has_call(statement.cause)):
            raise self._refuse(statement)
        out: list[ast.stmt] = []
        statement.exc = self._lower(statement.exc, out)
        return [*out, statement]

    # -- conditions, of which only the truth counts --

    def _split(self, node: ast.expr) -> tuple[ast.BoolOp, ast.expr, ast.expr] | None:
        """`a and call()`: the whole, what comes before the part with the call, and the rest."""
        if not isinstance(node, ast.BoolOp):
            return None
        for i, value in enumerate(node.values):
            if i and self._has_call(value):
                return node, _joined(node, node.values[:i]), _joined(node, node.values[i:])
        return None

    def _condition(self, node: ast.expr, out: list[ast.stmt]) -> ast.expr:
        if not self._has_call(node):
            return node
        if isinstance(node, ast.UnaryOp) and isinstance(node.op, ast.Not):
            return _negated(self._condition(node.operand, out))
        split = self._split(node)
        if split is None:
            if isinstance(node, ast.BoolOp):
                node.values[0] = self._condition(node.values[0], out)
                return node
            return self._lower(node, out)
        whole, head, tail = split
        both = isinstance(whole.op, ast.And)
        head = self._condition(head, out)
        flag = self._keep(ast.Constant(0 if both else 1), out)
        inner: list[ast.stmt] = []
        rest = self._condition(tail, inner)
        inner.append(
            ast.If(
                rest if both else _negated(rest), [_assign(flag.id, ast.Constant(int(both)))], []
            )
        )
        out.append(ast.If(head if both else _negated(head), inner, []))
        return flag

    # -- values --

    def _lower(self, node: ast.expr, out: list[ast.stmt]) -> ast.expr:
        """`node` without the calls in it; what comes before goes to `out`."""
        if not self._has_call(node):
            return node
        if isinstance(node, ast.BoolOp):
            return self._either(node, out)
        if isinstance(node, ast.IfExp):
            return self._choice(node, out)
        if isinstance(node, ast.Call):
            if self._calls.is_inline(node):
                return self._expand(node, out, True)
            self._lower_call(node, out)
        elif isinstance(node, ast.BinOp):
            node.left, node.right = self._in_order([node.left, node.right], out)
        elif isinstance(node, ast.Compare) and not any(map(self._has_call, node.comparators[1:])):
            parts = [node.left, node.comparators[0]]
            node.left, node.comparators[0] = self._in_order(parts, out)
        elif isinstance(node, ast.UnaryOp):
            node.operand = self._lower(node.operand, out)
        elif isinstance(node, ast.Attribute):
            node.value = self._lower(node.value, out)
        elif isinstance(node, ast.Subscript) and not isinstance(node.slice, ast.Slice):
            node.value, node.slice = self._in_order([node.value, node.slice], out)
        elif isinstance(node, (ast.Tuple, ast.List)):
            node.elts = self._in_order(node.elts, out)
        else:
            raise self._refuse(node)
        return node

    def _in_order(self, parts: list[ast.expr], out: list[ast.stmt]) -> list[ast.expr]:
        """Expressions that are evaluated one after the other, without the calls in them."""
        last = max((i for i, part in enumerate(parts) if self._has_call(part)), default=-1)
        done = []
        for i, part in enumerate(parts):
            if isinstance(part, ast.Starred) and last >= 0:
                raise self._refuse(part)
            part = self._lower(part, out)
            if i < last and not self._is_stable(part):
                part = self._keep(part, out)
            done.append(part)
        return done

    def _lower_call(self, node: ast.Call, out: list[ast.stmt]) -> None:
        """A call that stays one, of a function or a method."""
        arguments = [*node.args, *(each.value for each in node.keywords)]
        if not any(map(self._has_call, arguments)):
            node.func = self._lower(node.func, out)
            return
        base = node.func
        while isinstance(base, ast.Attribute):
            base = base.value
        # What hangs on a module's or a class's name does not change.
        name = base.id if isinstance(base, ast.Name) and self._is_stable(base) else None
        if name is None or (node.func is not base and name in self._calls.local):
            why = f"an @inline call after something else, the look-up of {ast.unparse(node.func)}"
            raise self._calls.error(node, f"{why}: give its value a variable")
        if any(each.arg is None for each in node.keywords):
            raise self._refuse(node)
        arguments = self._in_order(arguments, out)
        node.args = arguments[: len(node.args)]
        for keyword, value in zip(node.keywords, arguments[len(node.args) :], strict=True):
            keyword.value = value

    def _expand(self, call: ast.Call, out: list[ast.stmt], wanted: bool) -> ast.Name:
        call.args = self._in_order(call.args, out)
        statements, result = self._calls.expand(call, wanted)
        out += statements
        self._results.add(result.id)
        return result

    def _either(self, node: ast.BoolOp, out: list[ast.stmt]) -> ast.expr:
        split = self._split(node)
        if split is None:
            node.values[0] = self._lower(node.values[0], out)
            return node
        whole, head, tail = split
        kept = self._keep(self._lower(head, out), out)
        inner: list[ast.stmt] = []
        rest = self._lower(tail, inner)
        inner.append(_assign(kept.id, rest))
        both = isinstance(whole.op, ast.And)
        out.append(ast.If(kept if both else _negated(kept), inner, []))
        return kept

    def _choice(self, node: ast.IfExp, out: list[ast.stmt]) -> ast.expr:
        node.test = self._condition(node.test, out)
        if not self._has_call(node.body) and not self._has_call(node.orelse):
            return node
        kept = self._fresh()
        branches: list[list[ast.stmt]] = []
        for value in (node.body, node.orelse):
            inner: list[ast.stmt] = []
            rest = self._lower(value, inner)
            branches.append([*inner, _assign(kept, rest)])
        out.append(ast.If(node.test, *branches))
        return ast.Name(kept, ast.Load())

    # -- variables --

    def _is_stable(self, node: ast.expr) -> bool:
        """True if it does not matter when that is evaluated."""
        if isinstance(node, ast.Name):
            return node.id not in self._results and node.id not in self._calls.variables
        return isinstance(node, ast.Constant)

    def _keep(self, node: ast.expr, out: list[ast.stmt]) -> ast.Name:
        """Evaluate `node` now; returns the variable that has its value."""
        name = self._fresh()
        out.append(_assign(name, node))
        return ast.Name(name, ast.Load())

    def _fresh(self) -> str:
        taken = self._kept | self._calls.local
        number = len(self._kept) + 1
        while f"_kept_{number}" in taken:
            number += 1
        name = f"_kept_{number}"
        self._kept.add(name)
        return name


def _assign(name: str, value: ast.expr) -> ast.stmt:
    return ast.Assign([ast.Name(name, ast.Store())], value)


def _joined(whole: ast.BoolOp, values: list[ast.expr]) -> ast.expr:
    if len(values) == 1:
        return values[0]
    return ast.copy_location(ast.BoolOp(whole.op, values), values[0])


def _negated(node: ast.expr) -> ast.expr:
    if isinstance(node, ast.UnaryOp) and isinstance(node.op, ast.Not):
        return node.operand
    return ast.UnaryOp(ast.Not(), node)

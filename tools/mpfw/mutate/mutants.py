# SPDX-License-Identifier: MIT
"""What can be changed in a module: a mutant is one small edit of its text.

    a < b        a <= b, and the other way round; == and !=, is and is not, in and not in
    a + b        a - b; so other operators, += too; and, or; `not` goes
    if a:        if not (a):
    7, True      8, False; -1 becomes 1
    a[i] = b     pass: assignments to parts of things, calls for their effect, raise, del, break

Texts and annotations stay as they are; so does what would compute the same: `+` and a constant
that is 0.
"""

import ast
import re
from collections import Counter
from collections.abc import Collection, Iterator
from dataclasses import dataclass

_COMPARISONS = {
    ast.Lt: ("<", "<="),
    ast.LtE: ("<=", "<"),
    ast.Gt: (">", ">="),
    ast.GtE: (">=", ">"),
    ast.Eq: ("==", "!="),
    ast.NotEq: ("!=", "=="),
    ast.Is: ("is", "is not"),
    ast.IsNot: ("is not", "is"),
    ast.In: ("in", "not in"),
    ast.NotIn: ("not in", "in"),
}
_OPERATORS = {
    ast.Add: ("+", "-"),
    ast.Sub: ("-", "+"),
    ast.Mult: ("*", "+"),
    ast.FloorDiv: ("//", "*"),
    ast.BitAnd: ("&", "|"),
    ast.BitOr: ("|", "&"),
    ast.BitXor: ("^", "&"),
    ast.LShift: ("<<", ">>"),
    ast.RShift: (">>", "<<"),
}
_BOOLEANS = {ast.And: ("and", "or"), ast.Or: ("or", "and")}
_GONE = (ast.AugAssign, ast.Raise, ast.Delete, ast.Break, ast.Continue)
_PARTS = (ast.Subscript, ast.Attribute)


@dataclass(frozen=True)
class Mutant:
    """One change: the bytes from `start` to `end` of a module become `new`.

    `path`, `function`, `was`, `becomes` (lines without what comments say) and `nth` (which of such
    lines in the function, from 1) say which one it is, wherever its line has gone since.
    """

    path: str
    function: str
    was: str
    becomes: str
    nth: int
    line: int
    lines: range  # of the statement that it is in
    early: bool  # that statement runs when the module is imported, and then no more
    start: int
    end: int
    new: str

    @property
    def key(self) -> tuple[str, str, str, str, int]:
        """What a table calls it by."""
        return self.path, self.function, self.was, self.becomes, self.nth

    def applied(self, source: str) -> str:
        """The module's text with the change in it."""
        data = source.encode()
        return (data[: self.start] + self.new.encode() + data[self.end :]).decode()

    def __str__(self) -> str:
        where = f" (in {self.function})" if self.function else ""
        return f"{self.path}:{self.line}: {self.was}  ->  {self.becomes}{where}"


@dataclass(frozen=True)
class _Edit:
    start: int
    end: int
    new: str


def mutants(path: str, source: str, zeros: Collection[str] = ()) -> list[Mutant]:
    """All mutants of a module, in order. `zeros`: names in other modules that are 0."""
    tree = ast.parse(source)
    text = _Text(source, zeros)
    seen: Counter[tuple[str, str, str]] = Counter()
    found = []
    for function, statement, early, edit in sorted(
        _edits(tree, text), key=lambda each: (each[3].start, each[3].end, each[3].new)
    ):
        first, last = text.line(edit.start), text.line(edit.end)
        was, becomes = text.shown(edit, first, last)
        seen[function, was, becomes] += 1
        lines = range(statement.lineno, _last_line(statement) + 1)
        mutant = Mutant(
            path,
            function,
            was,
            becomes,
            seen[function, was, becomes],
            first,
            lines,
            early,
            edit.start,
            edit.end,
            edit.new,
        )
        found.append(mutant)
    return found


def _last_line(statement: ast.stmt) -> int:
    """Of the statement itself, or of its head if it has a body."""
    body: list[ast.stmt] | None = getattr(statement, "body", None)
    if body:
        return max(statement.lineno, body[0].lineno - 1)
    return statement.end_lineno or statement.lineno


_Node = ast.expr | ast.stmt


class _Text:
    """A module's text in bytes, as the positions of its syntax tree count them."""

    def __init__(self, source: str, zeros: Collection[str]):
        self.data = source.encode()
        self.zeros = zeros
        self._starts: list[int] = [0]
        for line in self.data.splitlines(keepends=True):
            self._starts.append(self._starts[-1] + len(line))

    def at(self, line: int, column: int) -> int:
        start: int = self._starts[line - 1]
        return start + column

    def begin(self, node: _Node) -> int:
        return self.at(node.lineno, node.col_offset)

    def end(self, node: _Node) -> int:
        return self.at(node.end_lineno or node.lineno, node.end_col_offset or 0)

    def line(self, offset: int) -> int:
        return self.data.count(b"\n", 0, offset) + 1

    def part(self, start: int, end: int) -> str:
        return self.data[start:end].decode()

    def shown(self, edit: _Edit, first: int, last: int) -> tuple[str, str]:
        """The lines that an edit touches, before and after."""
        start, end = self._starts[first - 1], self._starts[last]
        head = self.part(start, edit.start)
        tail = self.part(edit.end, end)
        was = self.part(start, end)
        return _bare(was), _bare(head + edit.new + tail)

    def between(self, left: _Node, right: _Node, old: str, new: str) -> Iterator[_Edit]:
        """Another operator between two operands."""
        yield from self.operator(self.end(left), self.begin(right), old, new)

    def operator(self, start: int, end: int, old: str, new: str) -> Iterator[_Edit]:
        gap = re.sub("#[^\n]*", lambda comment: " " * len(comment.group()), self.part(start, end))
        word = old.replace(" ", r"\s+")
        found = re.search(rf"\b{word}\b" if old[0].isalpha() else re.escape(old), gap)
        if found:
            yield _Edit(start + found.start(), start + found.end(), new)


def _bare(lines: str) -> str:
    """Code without indentation and without comments at the ends of lines."""
    return " ".join(re.sub("(?m)  #.*$", "", lines).split())


_Found = tuple[str, ast.stmt, bool, _Edit]


def _edits(tree: ast.Module, text: _Text) -> Iterator[_Found]:
    for statement in tree.body:
        yield from _statement(statement, "", True, text)


def _statement(statement: ast.stmt, function: str, early: bool, text: _Text) -> Iterator[_Found]:
    """The edits in a statement and in those that it holds; `early`: as Mutant has it."""
    if isinstance(statement, ast.Import | ast.ImportFrom):
        return
    if isinstance(statement, ast.Expr) and isinstance(statement.value, ast.Constant):
        return  # a docstring
    inner = function
    if isinstance(statement, ast.FunctionDef | ast.ClassDef):
        inner = f"{function}.{statement.name}" if function else statement.name
    early_inside = early and not isinstance(statement, ast.FunctionDef)
    for edit in _whole(statement, text):
        yield inner, statement, early, edit
    for child in ast.iter_child_nodes(statement):
        if isinstance(child, ast.stmt):
            yield from _statement(child, inner, early_inside, text)
        elif isinstance(child, ast.ExceptHandler):
            for each in child.body:
                yield from _statement(each, inner, early_inside, text)
        else:
            for edit in _expressions(statement, child, text):
                yield inner, statement, early, edit


def _whole(statement: ast.stmt, text: _Text) -> Iterator[_Edit]:
    """What becomes of a statement as a whole."""
    targets = statement.targets if isinstance(statement, ast.Assign) else []
    effect = isinstance(statement, ast.Expr) or any(isinstance(one, _PARTS) for one in targets)
    if effect or isinstance(statement, _GONE):
        yield _Edit(text.begin(statement), text.end(statement), "pass")
    if isinstance(statement, ast.If):
        start, end = text.begin(statement.test), text.end(statement.test)
        yield _Edit(start, end, f"not ({text.part(start, end)})")
    if isinstance(statement, ast.AugAssign) and type(statement.op) in _OPERATORS:
        old, new = _OPERATORS[type(statement.op)]
        yield from text.between(statement.target, statement.value, old + "=", new + "=")


def _expressions(statement: ast.stmt, root: ast.AST, text: _Text) -> Iterator[_Edit]:
    """The edits within the expressions of a statement."""
    if isinstance(statement, ast.FunctionDef):
        if not isinstance(root, ast.arguments):
            return  # a decorator or what it returns
        for default in (*root.defaults, *root.kw_defaults):
            if default is not None:
                yield from _expression(default, text)
        return
    yield from _expression(root, text)


def _expression(node: ast.AST, text: _Text) -> Iterator[_Edit]:
    if isinstance(node, ast.JoinedStr):
        return
    if isinstance(node, ast.UnaryOp) and isinstance(node.op, ast.USub):
        yield _Edit(text.begin(node), text.begin(node.operand), "")
        return
    yield from _operator(node, text)
    for child in ast.iter_child_nodes(node):
        yield from _expression(child, text)


def _operator(node: ast.AST, text: _Text) -> Iterator[_Edit]:
    if isinstance(node, ast.Constant):
        yield from _constant(node, text)
    elif isinstance(node, ast.Compare):
        operands = [node.left, *node.comparators]
        for left, right, op in zip(operands, operands[1:], node.ops, strict=False):
            yield from text.between(left, right, *_COMPARISONS[type(op)])
    elif isinstance(node, ast.BinOp) and type(node.op) in _OPERATORS:
        nothing = isinstance(node.right, ast.Attribute) and node.right.attr in text.zeros
        if nothing and isinstance(node.op, ast.Add | ast.Sub):
            return
        yield from text.between(node.left, node.right, *_OPERATORS[type(node.op)])
    elif isinstance(node, ast.BoolOp):
        for left, right in zip(node.values, node.values[1:], strict=False):
            yield from text.between(left, right, *_BOOLEANS[type(node.op)])
    elif isinstance(node, ast.UnaryOp) and isinstance(node.op, ast.Not):
        yield _Edit(text.begin(node), text.begin(node) + len("not "), "")


def _constant(node: ast.Constant, text: _Text) -> Iterator[_Edit]:
    start, end = text.begin(node), text.end(node)
    if isinstance(node.value, bool):
        yield _Edit(start, end, str(not node.value))
    elif isinstance(node.value, int):
        more: int = node.value + 1
        is_hex = text.part(start, end).lower().startswith("0x")
        yield _Edit(start, end, hex(more) if is_hex else str(more))

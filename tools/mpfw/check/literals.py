# SPDX-License-Identifier: MIT
"""Layouts are named: where words are reached by index, the index is a constant's name.

In the modules of LAYOUTS, constants-only ones aside:

- no integer literal is an index, or a part of one, of a pointer (what ptr8, ptr16 or ptr32 gives,
  or a parameter of that type) or of an array of words (a name of WORDS, or one that the module
  gives to an `array` of ARRAYS). `+ 1` beside a constant's name is allowed: the high half of an
  address;
- nothing but a literal is shifted by a literal of SHIFTS, the places of fields in a word and of
  pages in an address.
"""

import ast
from collections.abc import Iterator
from pathlib import Path

from mpfw.check.facts import is_constants_only
from mpfw.check.sources import Finding, Module, firmware_modules

LAYOUTS = ("socket", "sockets", "virtio", "vsock")
POINTERS = {"ptr8", "ptr16", "ptr32"}
WORDS = {"block", "header", "words"}  # leading underscores ignored
ARRAYS = {"H", "I", "Q"}  # type codes
SHIFTS = {8, 12, 16, 24}


def check(tree: Path) -> Iterator[Finding]:
    """Literals that stand for a layout."""
    for module in firmware_modules(tree):
        if module.top in LAYOUTS and not is_constants_only(module):
            yield from _module(module)


def _module(module: Module) -> Iterator[Finding]:
    functions = [node for node in ast.walk(module.body) if isinstance(node, ast.FunctionDef)]
    pointers = {id(node) for one in functions for node in _pointer_uses(one)}
    words = WORDS | set(_arrays(module))
    for node in ast.walk(module.body):
        says = ""
        if isinstance(node, ast.Subscript):
            if id(node.value) in pointers or _name(node.value) in words:
                says = "a literal in a layout's index" if _has_literal(node.slice) else ""
            line = node.lineno
        elif isinstance(node, ast.BinOp) and isinstance(node.op, ast.LShift | ast.RShift):
            if not _is_integer(node.left) and _is_integer(node.right, SHIFTS):
                says = "a field's place as a literal"
            line = node.lineno
        if says:
            yield Finding(module.path, line, f"{ast.unparse(node)}: {says}")


def _pointer_uses(function: ast.FunctionDef) -> Iterator[ast.expr]:
    """The names in a function that are pointers, where they are used, and calls that make one."""
    arguments = (*function.args.posonlyargs, *function.args.args, *function.args.kwonlyargs)
    names = {one.arg for one in arguments if one.annotation and _name(one.annotation) in POINTERS}
    for node in ast.walk(function):
        if isinstance(node, ast.Assign) and _makes_pointer(node.value):
            names |= {one.id for one in node.targets if isinstance(one, ast.Name)}
    for node in ast.walk(function):
        if isinstance(node, ast.Name) and node.id in names:
            yield node
        if isinstance(node, ast.Call) and _makes_pointer(node):
            yield node


def _makes_pointer(node: ast.expr) -> bool:
    return isinstance(node, ast.Call) and _name(node.func) in POINTERS


def _arrays(module: Module) -> Iterator[str]:
    """The names that a module gives to arrays of words."""
    for node in ast.walk(module.body):
        if isinstance(node, ast.Assign) and isinstance(node.value, ast.Call):
            call = node.value
            codes = {one.value for one in call.args[:1] if isinstance(one, ast.Constant)}
            if _name(call.func) == "array" and codes & ARRAYS:
                yield from map(_name, node.targets)


def _name(node: ast.expr) -> str:
    """The last part of a name, without underscores at its front; "" for what has none."""
    if isinstance(node, ast.Name):
        return node.id.lstrip("_")
    return node.attr.lstrip("_") if isinstance(node, ast.Attribute) else ""


def _is_integer(node: ast.expr, among: set[int] | None = None) -> bool:
    """Whether a node is an integer literal, one of `among` if that is given."""
    if not isinstance(node, ast.Constant) or type(node.value) is not int:
        return False
    return among is None or node.value in among


def _has_literal(index: ast.expr) -> bool:
    """Whether an index has a literal, other than 1 beside the name of a constant."""
    if isinstance(index, ast.Slice):
        return any(_has_literal(part) for part in (index.lower, index.upper) if part is not None)
    terms = list(_terms(index))
    high_half = {1} if any(_name(term).isupper() for term in terms) else set()
    return any(_is_stray(term, high_half) for term in terms)


def _terms(node: ast.expr) -> Iterator[ast.expr]:
    """The parts of a sum, or of bits put together."""
    if isinstance(node, ast.BinOp) and isinstance(node.op, ast.Add | ast.Sub | ast.BitOr):
        yield from _terms(node.left)
        yield from _terms(node.right)
    else:
        yield node


def _is_stray(term: ast.expr, allowed: set[int]) -> bool:
    if isinstance(term, ast.UnaryOp):
        return _is_stray(term.operand, allowed)
    if isinstance(term, ast.BinOp) and isinstance(term.op, ast.Mult | ast.LShift):
        return _is_stray(term.left, set()) or _is_stray(term.right, set())
    return _is_integer(term) and not _is_integer(term, allowed)

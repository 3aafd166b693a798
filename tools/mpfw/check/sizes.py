# SPDX-License-Identifier: MIT
"""A file is one idea, a function one step: both have a largest size, or say why they pass it.

The reason begins with "Long because" and stands in the docstring of the function or module, in C
in the comment right above the function or at the head of the file.
"""

import ast
import re
from collections.abc import Iterator
from pathlib import Path

from mpfw.check.sources import Finding, parse, python_files

FILE_LINES = 600
FUNCTION_LINES = 60
FOLDERS = ("firmware", "port", "mpy_modules", "tools")
OTHER_SUFFIXES = (".c", ".h", ".S", ".asm")  # besides Python
REASON = "Long because"

# As clang-format leaves it: a function begins at the margin, may have parameters on further lines,
# and ends with a brace at the margin.
_C_HEAD = re.compile(r"^[A-Za-z_].*?\b(?!__attribute__)(\w+)\(")


def check(tree: Path) -> Iterator[Finding]:
    """Files and functions that are too long and do not say why."""
    for path in python_files(tree, *FOLDERS):
        name = str(path.relative_to(tree))
        body = parse(tree, path)
        if REASON not in (ast.get_docstring(body) or ""):
            yield from _file(name, path.read_text().count("\n"))
        yield from _python_functions(name, body)
    for path in sorted(path for folder in FOLDERS for path in (tree / folder).rglob("*")):
        if path.suffix in OTHER_SUFFIXES:
            name = str(path.relative_to(tree))
            lines = path.read_text().splitlines()
            if REASON not in _comment(lines, 0, 1):
                yield from _file(name, len(lines))
            if path.suffix in (".c", ".h"):
                yield from _c_functions(name, lines)


def _file(name: str, lines: int) -> Iterator[Finding]:
    if lines > FILE_LINES:
        yield Finding(name, 1, f"{lines} lines, {FILE_LINES} are allowed")


def _function(name: str, line: int, function: str, lines: int) -> Iterator[Finding]:
    if lines > FUNCTION_LINES:
        says = f"{function} has {lines} lines, {FUNCTION_LINES} are allowed"
        yield Finding(name, line, says)


def _python_functions(name: str, body: ast.Module) -> Iterator[Finding]:
    for node in ast.walk(body):
        if not isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            continue
        if REASON not in (ast.get_docstring(node) or ""):
            lines = (node.end_lineno or node.lineno) - node.lineno + 1
            yield from _function(name, node.lineno, node.name, lines)


def _c_functions(name: str, lines: list[str]) -> Iterator[Finding]:
    start, function = 0, ""
    for number, line in enumerate(lines):
        found = _C_HEAD.match(line)
        if found and not line.endswith(";"):
            start, function = number, found.group(1)
        elif line == "}" and function:
            if REASON not in _comment(lines, start - 1, -1):
                yield from _function(name, start + 1, function, number - start + 1)
            function = ""


def _comment(lines: list[str], start: int, step: int) -> str:
    """The lines of a comment from `start` on, up (-1) or down (1)."""
    found = []
    while 0 <= start < len(lines) and lines[start].startswith(("//", ";", "/*", " *")):
        found.append(lines[start])
        start += step
    return "\n".join(found)

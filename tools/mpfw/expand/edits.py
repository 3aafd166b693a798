# SPDX-License-Identifier: MIT
"""Changes pieces of a source text, and leaves the rest and the number of each line as they are."""

import ast

_Node = ast.expr | ast.stmt


class Edits:
    """Replacements in one text, collected and then made at once. False if there are none."""

    def __init__(self, text: str):
        self._bytes = text.encode()  # ast counts columns in UTF-8
        self._starts = [0]
        for line in self._bytes.split(b"\n"):
            self._starts.append(self._starts[-1] + len(line) + 1)
        self._made: list[tuple[int, int, str]] = []

    def __bool__(self) -> bool:
        return bool(self._made)

    def replace(self, node: _Node, text: str) -> None:
        """Put `text`, of one line, in the place of a node."""
        start, end = self._span(node)
        lines = self._bytes[start:end].count(b"\n")  # what took several lines still does
        whole = isinstance(node, ast.stmt) and self._alone(start, end)
        self._made.append((start, end, text + ("\n" if whole else "\\\n") * lines))

    def keep_names(
        self, statement: ast.Import | ast.ImportFrom, names: list[ast.alias], top: bool
    ) -> None:
        """Leave those names of an import; `top`: it may vanish, no block needs a statement."""
        if not names:
            self.replace(statement, "" if top and self._alone(*self._span(statement)) else "pass")
        elif isinstance(statement, ast.ImportFrom):
            node = ast.ImportFrom(statement.module, names, statement.level)
            self.replace(statement, ast.unparse(node))
        else:
            self.replace(statement, ast.unparse(ast.Import(names)))

    def text(self) -> str:
        """The changed text."""
        data = self._bytes
        for start, end, text in sorted(self._made, reverse=True):
            data = data[:start] + text.encode() + data[end:]
        return data.decode()

    def _span(self, node: _Node) -> tuple[int, int]:
        assert node.end_lineno is not None and node.end_col_offset is not None
        start = self._starts[node.lineno - 1] + node.col_offset
        return start, self._starts[node.end_lineno - 1] + node.end_col_offset

    def _alone(self, start: int, end: int) -> bool:
        before = self._bytes[self._bytes.rfind(b"\n", 0, start) + 1 : start]
        after = self._bytes[end:].partition(b"\n")[0].strip()
        return not before.strip() and (not after or after.startswith(b"#"))

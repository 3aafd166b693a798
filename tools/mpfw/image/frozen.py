# SPDX-License-Identifier: MIT
"""Names of frozen Python functions in the payload's symbol table, for gdb and `mpfw symbolise`.

Upstream's mpy-tool.py makes a C array of each function, whose symbol is numbered instead of named
where the function is viper: `fun_data_virtio_queue_virtio_slash_queue_dot_py10`. Its name is found
as mpy-tool makes it, from the functions' order in the source; `py.virtio.queue.Queue.pop` is what
it is called afterwards.
"""

import ast
from collections.abc import Iterator
from pathlib import Path

import click

PREFIX = "py."
_ARRAY = "fun_data_"
_ESCAPES = {"/": "_slash_", ".": "_dot_", "<": "_lt_", ">": "_gt_"}
_NAMELESS: dict[type[ast.AST], str] = {
    ast.Lambda: "<lambda>",
    ast.ListComp: "<listcomp>",
    ast.SetComp: "<setcomp>",
    ast.DictComp: "<dictcomp>",
    ast.GeneratorExp: "<genexpr>",
}


def names(root: Path) -> dict[str, str]:
    """The symbols of all functions of the modules under `root`, by what mpy-tool calls them."""
    taken: set[str] = set()
    found: dict[str, str] = {}
    for path in sorted(root.rglob("*.py")):
        for symbol, name in _Module(path.relative_to(root), taken).functions(path.read_text()):
            while name in found.values():  # defined twice, as in the branches of an `if`
                name += "'"
            found[symbol] = name
    return found


class _Module:
    """Walks the functions of one module; `taken` are mpy-tool's names so far, of all modules."""

    def __init__(self, path: Path, taken: set[str]):
        self._source = _escape(path.as_posix())
        self._name = ".".join(path.with_suffix("").parts).removesuffix(".__init__")
        self._root = path.with_suffix("").as_posix().replace("/", "_")
        self._taken = taken
        self._methods: dict[str, str] = {}

    def functions(self, text: str) -> Iterator[tuple[str, str]]:
        """(symbol, name) of the module's code itself and of everything in it."""
        tree = ast.parse(text)
        self._methods = _moved(tree)
        yield self._pair(f"{self._root}_{_escape('<module>')}", "<module>")
        yield from self._inside(tree, self._root, "")

    def _inside(self, node: ast.AST, parent: str, outer: str) -> Iterator[tuple[str, str]]:
        """Functions and classes in `node`, in the order in which they are compiled."""
        for child in ast.iter_child_nodes(node):
            viper = False
            if isinstance(child, (ast.FunctionDef, ast.AsyncFunctionDef, ast.ClassDef)):
                name = child.name
                viper = "micropython.viper" in map(ast.unparse, child.decorator_list)
            elif type(child) in _NAMELESS:
                name = _NAMELESS[type(child)]
            else:
                yield from self._inside(child, parent, outer)
                continue
            unique = self._unique(f"{parent}_{self._source if viper else _escape(name)}")
            yield self._pair(unique, self._methods.get(name, outer + name))
            yield from self._inside(child, unique, f"{outer}{name}.")

    def _unique(self, name: str) -> str:
        number, unique = 1, name
        while unique in self._taken:
            number += 1
            unique = f"{name}{number}"
        self._taken.add(unique)
        return unique

    def _pair(self, symbol: str, name: str) -> tuple[str, str]:
        return _ARRAY + symbol, f"{PREFIX}{self._name}.{name}"


def _moved(tree: ast.Module) -> dict[str, str]:
    """The methods that `mpfw expand` has put at the end, by the name that they have there."""
    return {
        node.value.id: ast.unparse(node.targets[0])
        for node in tree.body
        if isinstance(node, ast.Assign)
        and isinstance(node.targets[0], ast.Attribute)
        and isinstance(node.value, ast.Name)
    }


def _escape(name: str) -> str:
    """A name as mpy-tool writes it into an identifier."""
    return "".join(_ESCAPES.get(letter, letter) for letter in name)


@click.command(name="frozen-names", hidden=True)
@click.argument("root", type=click.Path(exists=True, file_okay=False, path_type=Path))
def frozen_names(root: Path) -> None:
    """List the symbols of the modules under ROOT, old and new name, as objcopy reads them."""
    for symbol, name in names(root).items():
        click.echo(f"{symbol} {name}")

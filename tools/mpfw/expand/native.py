# SPDX-License-Identifier: MIT
"""Bytes of machine code per function, as the build's mpy-cross makes it.

A .mpy file names no viper function. But the order of its parts is that in which the compiler meets
what becomes code of its own, and that is a walk through the source.
"""

import ast
import importlib.util
import subprocess
import sys
import tempfile
from collections.abc import Iterable, Iterator, Mapping
from functools import cache
from pathlib import Path
from typing import Any

from mpfw.image.built import Build

MPY_CROSS = Build().mpy_cross
_COMPREHENSIONS = (ast.ListComp, ast.SetComp, ast.DictComp, ast.GeneratorExp)


class NativeError(Exception):
    """The sizes could not be had; the message says what to do."""


class CompileError(NativeError):
    """The compiler refuses a module; the message has what it said."""


def sizes(texts: Mapping[Path, str], micropython: Path) -> dict[str, int]:
    """Bytes of each native function of modules, by its dotted name.

    `texts` are by their places in the tree; `micropython` is the source of the same release.
    """
    found: dict[str, int] = {}
    for place, text in texts.items():
        parts = place.with_suffix("").parts
        name = ".".join(parts[:-1] if parts[-1] == "__init__" else parts)
        found |= _module_sizes(name, place, text, micropython)
    return found


def sizes_with_calls(
    texts: Mapping[Path, str], micropython: Path
) -> tuple[dict[str, int], list[Path]]:
    """The same of modules in which no call was expanded, and what does not compile without that.

    In viper code the value of a call is an object; in place of a body it is an integer.
    """
    found: dict[str, int] = {}
    without: list[Path] = []
    for place, text in texts.items():
        try:
            found |= sizes({place: text}, micropython)
        except CompileError:
            without.append(place)
    return found, without


def _module_sizes(name: str, place: Path, text: str, micropython: Path) -> dict[str, int]:
    if not MPY_CROSS.exists():
        raise NativeError(f"{MPY_CROSS} is not there: `make image` builds it.")
    tool = _mpy_tool(micropython / "tools/mpy-tool.py")
    found: dict[str, int] = {}
    with tempfile.TemporaryDirectory() as directory:
        source = Path(directory) / "module.py"
        source.write_text(text, encoding="utf-8")
        output = str(source.with_suffix(".mpy"))
        command = [str(MPY_CROSS), *Build().flags, "-s", str(place), "-o", output, str(source)]
        result = subprocess.run(command, capture_output=True, text=True, check=False)
        if result.returncode:
            raise CompileError(f"mpy-cross takes no {place}: {result.stderr.strip()}")
        code = tool.read_mpy(output).raw_code
    tree = ast.parse(text)
    _collect(tool, name, code, tree, _methods(tree), found)
    return found


@cache
def _mpy_tool(path: Path) -> Any:
    """Upstream's tool as a module, with the settings that its command line makes."""
    if not path.exists():
        raise NativeError(f"{path} is not there: `make image` fetches it.")
    spec = importlib.util.spec_from_file_location("mpy_tool", path)
    assert spec is not None and spec.loader is not None
    tool = importlib.util.module_from_spec(spec)
    before = list(sys.path)
    sys.path.insert(0, str(path.parent))  # from where it goes to what it imports
    try:
        spec.loader.exec_module(tool)
    finally:
        sys.path[:] = before
    settings: Any = tool
    settings.config.native_arch = settings.MP_NATIVE_ARCH_NONE
    settings.global_qstrs = settings.GlobalQStrList()
    return tool


def _methods(tree: ast.Module) -> dict[str, str]:
    """Names of functions that become methods: what expansion moved to the end of a module."""
    found = {}
    for node in tree.body:
        if (
            isinstance(node, ast.Assign)
            and isinstance(node.targets[0], ast.Attribute)
            and isinstance(node.value, ast.Name)
        ):
            found[node.value.id] = ast.unparse(node.targets[0])
    return found


def _collect(
    tool: Any,
    name: str,
    code: Any,
    node: ast.AST,
    methods: Mapping[str, str],
    found: dict[str, int],
) -> None:
    """Add the sizes of the native parts of `code`, which is what became of `node`."""
    inner = list(_scopes(_inside(node)))
    if len(inner) != len(code.children):
        raise NativeError(f"{name}: mpy-cross makes {len(code.children)} parts of {len(inner)}")
    for child, part in zip(inner, code.children, strict=True):
        own = getattr(child, "name", f"<{type(child).__name__.lower()}>")
        full = f"{name}.{methods.get(own, own)}"
        if part.code_kind in (tool.MP_CODE_NATIVE_PY, tool.MP_CODE_NATIVE_VIPER):
            found[full] = found.get(full, 0) + len(part.fun_data)
        _collect(tool, full, part, child, {}, found)


def _inside(node: ast.AST) -> list[ast.AST]:
    """What belongs to the code that `node` becomes, in the order of the compiler."""
    if isinstance(node, (ast.Module, ast.ClassDef, ast.FunctionDef, ast.AsyncFunctionDef)):
        return list(node.body)
    if isinstance(node, ast.Lambda):
        return [node.body]
    assert isinstance(node, _COMPREHENSIONS)
    parts: list[ast.AST] = []
    for number, each in enumerate(node.generators):
        parts += [each.iter] if number else []
        parts += [each.target, *each.ifs]
    if isinstance(node, ast.DictComp):
        return [*parts, node.key, node.value]
    return [*parts, node.elt]


def _scopes(nodes: Iterable[ast.AST | None]) -> Iterator[ast.AST]:
    """What among `nodes` becomes code of its own."""
    for node in nodes:
        if isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef)):
            yield from _scopes(node.decorator_list)
            yield from _scopes([*node.args.defaults, *node.args.kw_defaults])
            yield node
        elif isinstance(node, ast.Lambda):
            yield from _scopes([*node.args.defaults, *node.args.kw_defaults])
            yield node
        elif isinstance(node, ast.ClassDef):
            yield from _scopes(node.decorator_list)
            yield node
            yield from _scopes([*node.bases, *node.keywords])
        elif isinstance(node, _COMPREHENSIONS):
            yield node
            yield from _scopes([node.generators[0].iter])
        elif node is not None:
            yield from _scopes(ast.iter_child_nodes(node))

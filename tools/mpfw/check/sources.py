# SPDX-License-Identifier: MIT
"""The tree as the rules read it: Python files parsed, imports resolved; and what a rule finds."""

import ast
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

FIRMWARE_MODULES = "mpy_modules"


@dataclass(frozen=True, order=True)
class Finding:
    """One place that breaks a rule. `path` is relative to the tree."""

    path: str
    line: int
    says: str

    def __str__(self) -> str:
        return f"{self.path}:{self.line}: {self.says}"


@dataclass(frozen=True)
class Module:
    """One Python file. `name` is what imports call it, such as "vsock.words"."""

    path: str
    name: str
    is_package: bool
    body: ast.Module

    @property
    def package(self) -> str:
        """What a relative import in it starts from."""
        return self.name if self.is_package else self.name.rpartition(".")[0]

    @property
    def top(self) -> str:
        """The first part of its name: the folder, or the module itself."""
        return self.name.partition(".")[0]


@dataclass(frozen=True)
class Import:
    """One name that an import binds: `bound` stands for `module`, or for its attribute `name`."""

    line: int
    module: str
    name: str
    bound: str


def python_files(tree: Path, *folders: str) -> list[Path]:
    """The Python files below these folders of the tree, in order."""
    return sorted(path for folder in folders for path in (tree / folder).rglob("*.py"))


def parse(tree: Path, path: Path) -> ast.Module:
    """One file's syntax tree."""
    return ast.parse(path.read_text(), str(path.relative_to(tree)))


def firmware_modules(tree: Path) -> list[Module]:
    """The modules that are frozen into the firmware; manifests are no modules."""
    root = tree / FIRMWARE_MODULES
    modules = []
    for path in python_files(tree, FIRMWARE_MODULES):
        parts = list(path.relative_to(root).with_suffix("").parts)
        is_package = parts[-1] == "__init__"
        if parts[-1] == "manifest":
            continue
        name = ".".join(parts[:-1] if is_package else parts)
        modules.append(Module(str(path.relative_to(tree)), name, is_package, parse(tree, path)))
    return modules


def imports(module: Module) -> Iterator[Import]:
    """Every import of a module, those inside functions too, relative ones resolved."""
    for node in ast.walk(module.body):
        if isinstance(node, ast.Import):
            for alias in node.names:
                bound = alias.asname or alias.name.partition(".")[0]
                yield Import(node.lineno, alias.name, "", bound)
        elif isinstance(node, ast.ImportFrom):
            base = _absolute(module.package, node)
            for alias in node.names:
                yield Import(node.lineno, base, alias.name, alias.asname or alias.name)


def _absolute(package: str, node: ast.ImportFrom) -> str:
    if not node.level:
        return node.module or ""
    parts = package.split(".")
    parts = parts[: len(parts) - (node.level - 1)]
    return ".".join([*parts, *([node.module] if node.module else [])])


def target(one: Import, known: set[str]) -> str:
    """The module that an import reaches: `from package import module` reaches the module."""
    whole = f"{one.module}.{one.name}"
    return whole if whole in known else one.module

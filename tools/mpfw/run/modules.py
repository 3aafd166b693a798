# SPDX-License-Identifier: MIT
"""Which files come along with a program, so that its imports find what CPython's would find.

Beside a script may lie a whole home directory. So a module comes along if an import statement of
the program, or of a module that comes along, has its name; where modules are imported by names
that are made at run time, any word of the text counts. Of a package all modules come along.
"""

import os
import re
from collections.abc import Iterator, Sequence
from pathlib import Path

from mpfw.run.program import Program

_SUFFIXES = (".py", ".mpy")
_STATEMENT = re.compile(rb"\b(?:from|import)\b([^\n;#]*)")
_COMPUTED = re.compile(rb"__import__|import_module|\bexec\b|\beval\b")
_WORD = re.compile(rb"[^\W\d]\w*")
_LIBRARY_DEPTH = 3  # how far below a library's top its packages lie, as in micropython-lib

Files = dict[str, Path]  # path in the guest, from where imports look -> file here


def along(program: Program, folders: Sequence[Path], libraries: Sequence[Path]) -> Files:
    """What comes along. Raises OSError for what cannot be read."""
    found: Files = {}
    if program.whole:
        found |= _tree(program.beside)
    for folder in folders:
        found = _tree(folder) | found
    places = [program.beside, *(root for folder in libraries for root in _roots(folder))]
    texts = [program.source, *(found[name].read_bytes() for name in found if _is_module(name))]
    wanted = {module.encode() for module in program.module.split(".")[:1]}
    for text in texts:
        wanted |= _names(text)
    _follow(wanted, places, found)
    return found


def _follow(wanted: set[bytes], places: Sequence[Path], found: Files) -> None:
    """Add the modules wanted, and those that they want."""
    if not wanted:
        return
    there = [_listing(place) for place in places]
    seen: set[bytes] = set()
    while wanted:
        name = wanted.pop()
        seen.add(name)
        if _has(found, name.decode()):
            continue
        for listing in there:
            files = listing.get(name.decode())
            new = {path: file for path, file in (files and _module(files) or {}).items()}
            if new:
                found |= new
                texts = [file.read_bytes() for path, file in new.items() if path.endswith(".py")]
                wanted |= {one for text in texts for one in _names(text)} - seen
                break


def _names(text: bytes) -> set[bytes]:
    """Names in a module's text that may be modules'."""
    if _COMPUTED.search(text):
        return set(_WORD.findall(text))
    return {word for part in _STATEMENT.findall(text) for word in _WORD.findall(part)}


def _has(found: Files, name: str) -> bool:
    return f"{name}.py" in found or any(path.startswith(f"{name}/") for path in found)


def _listing(place: Path) -> dict[str, Path]:
    """The modules and packages that a directory may have, by name; packages come first."""
    there: dict[str, Path] = {}
    try:
        entries = list(os.scandir(place))
    except OSError:
        return there
    for entry in entries:
        name, suffix = os.path.splitext(entry.name)
        if not name.isascii() or not name.isidentifier():
            continue
        if not suffix and entry.is_dir() and not _has_manifest(Path(entry.path)):
            there[name] = Path(entry.path)
        elif suffix in _SUFFIXES and entry.is_file():
            there.setdefault(name, Path(entry.path))
    return there


def _module(path: Path) -> Files:
    """A module's file, or a package's modules."""
    if path.is_dir():
        return {
            f"{path.name}/{name}": file for name, file in _tree(path).items() if _is_module(name)
        }
    return {path.name: path}


def _tree(folder: Path) -> Files:
    """The files below a folder; neither hidden ones nor CPython's compiled ones."""
    return {file.relative_to(folder).as_posix(): file for file in _walk(folder)}


def _walk(folder: Path) -> Iterator[Path]:
    for entry in sorted(os.scandir(folder), key=lambda entry: entry.name):
        if entry.name.startswith(".") or entry.name == "__pycache__":
            continue
        if entry.is_dir(follow_symlinks=False):
            yield from _walk(Path(entry.path))
        elif entry.is_file():
            yield Path(entry.path)


def _is_module(name: str) -> bool:
    return name.endswith(_SUFFIXES)


def _roots(library: Path, depth: int = _LIBRARY_DEPTH) -> list[Path]:
    """A library's top, and below it the folders of packages that have a manifest."""
    roots = []
    for entry in sorted(os.scandir(library), key=lambda entry: entry.name):
        if depth and entry.is_dir(follow_symlinks=False) and not entry.name.startswith("."):
            below = _roots(Path(entry.path), depth - 1)
            roots += below if _has_manifest(below[0]) else below[1:]
    return [library, *roots]


def _has_manifest(folder: Path) -> bool:
    return (folder / "manifest.py").is_file()

# SPDX-License-Identifier: MIT
"""What a guest is to run, as Python's command line says it, and the fw_cfg entries that tell it.

mpy_modules/startup.py reads them. docs/run.md has them all.
"""

import os
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

from mpfw import paths
from mpfw.guest.machine import Entry

_PREFIX = "opt/micropython/"
_ARGV_LIMIT = 1 << 16  # bytes
_APP_LIMIT = 64 << 20


class ProgramError(Exception):
    """A program that cannot be run: one sentence."""


class Program(NamedTuple):
    """A script and what it is called, or a module; `beside` is where its imports look first."""

    name: str
    source: bytes = b""
    file: Path | None = None  # where the source lies as it is
    module: str = ""  # run as `python -m` does, in place of a source
    beside: Path = Path()
    whole: bool = False  # everything in `beside` comes along


def code(text: str) -> Program:
    """`-c`: a program that is text."""
    return Program("<string>", os.fsencode(text) + b"\n")


def module(name: str) -> Program:
    """`-m`: a module, or a package with `__main__`, of the current directory or the image."""
    place = Path(*name.split("."))
    if place.is_dir():
        name, place = f"{name}.__main__", place / "__main__"
    return Program(str(place.with_suffix(".py").absolute()), module=name)


def script(path: str) -> Program:
    """A file, a directory with main.py, or "-", which is standard input."""
    if path == "-":
        return Program("<stdin>", sys.stdin.buffer.read())
    file = Path(path)
    if file.is_dir():
        main = file / "main.py"
        if not main.is_file():
            raise ProgramError(f"{path}: there is no main.py in this directory")
        return Program(str(main), _read(main), main, beside=file, whole=True)
    # Where a link to a script leads, its modules are.
    return Program(path, _read(file), file, beside=file.resolve().parent)


def _read(file: Path) -> bytes:
    try:
        return file.read_bytes()
    except OSError as error:
        raise ProgramError(f"can't open {str(file)!r}: {error.strerror}") from None


def fw_cfg(
    program: Program,
    words: Sequence[str],
    environment: Sequence[str],
    folders: Sequence[Path],
    libraries: Sequence[Path],
    interactive: bool,
    image: Path,
) -> dict[str, Entry]:
    """The guest's fw_cfg entries; the guest runs `image`. Raises ProgramError."""
    entries: dict[str, Entry] = {"run": "interactive" if interactive else "exit"}
    entries["name"] = program.name.encode("utf-8", "backslashreplace")
    if program.module:
        entries["module"] = program.module
    else:
        entries["main.py"] = program.source
    if words:
        entries["argv"] = _argv(words)
    if environment:
        entries["env"] = _words(_assignments(environment), "--env")
    modules = _modules(program, folders, libraries, image)
    if modules:
        entries["app"] = modules
    return {_PREFIX + name: content for name, content in entries.items()}


def _argv(words: Sequence[str]) -> bytes:
    argv = _words(words, "argument")
    if len(argv) > _ARGV_LIMIT:
        raise ProgramError(f"the arguments have {len(argv)} bytes; a guest takes {_ARGV_LIMIT}")
    return argv


def _assignments(environment: Sequence[str]) -> Sequence[str]:
    for word in environment:
        if not word.partition("=")[0] or "=" not in word:
            raise ProgramError(f"--env {word}: NAME=VALUE is wanted")
    return environment


def _words(words: Sequence[str], what: str) -> bytes:
    """Words, each ended by a NUL."""
    try:
        return b"".join(word.encode() + b"\0" for word in words)
    except UnicodeEncodeError as error:
        raise ProgramError(f"{what} {error.object!r}: not UTF-8") from None


def _modules(
    program: Program, folders: Sequence[Path], libraries: Sequence[Path], image: Path
) -> bytes:
    """A ROMFS image of what comes along; nothing if nothing does."""
    from mpfw.run import modules

    for folder in (*folders, *libraries):
        if not folder.is_dir():
            raise ProgramError(f"{folder}: there is no such directory")
    try:
        found = modules.along(program, folders, libraries)
        size = sum(file.stat().st_size for file in found.values())
    except OSError as error:
        raise ProgramError(f"{error.filename}: {error.strerror}") from None
    if not found:
        return b""
    if size > _APP_LIMIT:
        what = f"what comes along has {size >> 20} MiB"
        raise ProgramError(f"{what}; a guest takes {_APP_LIMIT >> 20} MiB")
    from mpfw.image import ImageError, romfs

    try:
        compiles = libraries and paths.IN_TREE  # a wheel has no compiler: the guest has one
        return romfs.pack(_compiled(found, libraries, image) if compiles else found)
    except ImageError as error:
        raise ProgramError(str(error)) from None


def _compiled(
    files: dict[str, Path], libraries: Sequence[Path], image: Path
) -> Mapping[str, Path | bytes]:
    from mpfw.run.compiled import compiled  # takes time to import

    return compiled(files, libraries, image)

# SPDX-License-Identifier: MIT
"""Modules of a library, compiled here: the guest then only loads them.

Where there is no build of ours (a wheel, somebody else's image) they go as they are, and the guest
compiles them. So does one that mpy-cross refuses: who imports it sees why, with file and line.
"""

import os
import subprocess
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from mpfw import paths
from mpfw.image.built import Build

PLACE = "/app"  # where they are in the guest

Contents = dict[str, Path | bytes]  # path below PLACE -> file here, or what it holds


def compiled(
    files: Mapping[str, Path], libraries: Sequence[Path], image: Path, build: Build | None = None
) -> Contents:
    """`files`, with those below `libraries` as .mpy for guests that run `image`."""
    build = build or Build()
    contents: Contents = dict(files)
    if image != paths.IMAGE or not build.mpy_cross.exists():
        return contents
    roots = [folder.resolve() for folder in libraries]
    names = [
        name
        for name, file in files.items()
        if name.endswith(".py") and any(file.resolve().is_relative_to(root) for root in roots)
    ]
    for name, code in _all(names, files, build):
        if code is not None:
            del contents[name]
            contents[name.removesuffix(".py") + ".mpy"] = code
    return contents


def _all(
    names: list[str], files: Mapping[str, Path], build: Build
) -> Iterator[tuple[str, bytes | None]]:
    """Each name with its compiled module, or None."""
    command = [str(build.mpy_cross), *build.flags]

    def one(name: str) -> bytes | None:
        words = [*command, "-s", f"{PLACE}/{name}", "-"]
        source = files[name].read_bytes()
        run = subprocess.run(words, input=source, capture_output=True, check=False)
        return run.stdout if run.returncode == 0 else None

    with ThreadPoolExecutor(os.cpu_count()) as pool:
        yield from zip(names, pool.map(one, names), strict=True)

# SPDX-License-Identifier: MIT
"""The app volume's contents: a MicroPython ROMFS image, made by mpremote's own writer."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from mpremote.romfs import VfsRomWriter

from mpfw.image import ImageError

MAGIC: bytes = VfsRomWriter.ROMFS_HEADER


def _add_directory(writer: VfsRomWriter, directory: Path) -> None:
    for entry in sorted(directory.iterdir()):
        if not entry.name.isascii():
            raise ImageError(f"{entry}: ROMFS names are ASCII")
        if entry.name == "__pycache__":
            continue
        if entry.is_dir():
            writer.opendir(entry.name)
            _add_directory(writer, entry)
            writer.closedir()
        elif entry.is_file():
            writer.mkfile(entry.name, entry.read_bytes())
        else:
            raise ImageError(f"{entry}: neither a file nor a directory")


def pack(files: Mapping[str, Path | bytes]) -> bytes:
    """A ROMFS image of files or what they hold, each with its path in it."""
    tree: dict[str, Any] = {}
    for name, file in files.items():
        *folders, last = name.split("/")
        place = tree
        for folder in folders:
            place = place.setdefault(folder, {})
        place[last] = file
    writer = VfsRomWriter()
    _add_tree(writer, tree)
    return bytes(writer.finalise())


def _add_tree(writer: VfsRomWriter, tree: dict[str, Any]) -> None:
    for name, what in sorted(tree.items()):
        if not name.isascii():
            raise ImageError(f"{name}: ROMFS names are ASCII")
        if isinstance(what, Path):
            writer.mkfile(name, what.read_bytes())
        elif isinstance(what, bytes):
            writer.mkfile(name, what)
        else:
            writer.opendir(name)
            _add_tree(writer, what)
            writer.closedir()


def load(source: Path) -> bytes:
    """A directory's files as a ROMFS image, or a ROMFS image from a file as it is."""
    if source.is_dir():
        writer = VfsRomWriter()
        _add_directory(writer, source)
        return bytes(writer.finalise())
    data = source.read_bytes()
    if not data.startswith(MAGIC):
        raise ImageError(f"{source}: neither a directory nor a ROMFS image")
    return data

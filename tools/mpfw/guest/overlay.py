# SPDX-License-Identifier: MIT
"""Modules that a guest runs in place of the image's frozen ones, without a rebuild.

A directory is laid over mpy_modules and the whole tree is expanded: a changed constant or @inline
function reaches into other modules. Every module whose text then differs from what the image was
built of is compiled and goes to the guest in one fw_cfg file, a ROMFS image that the guest mounts
before it imports anything (mpy_modules/_overlay.py).
"""

import ast
import gc
import re
import subprocess
import tempfile
from dataclasses import dataclass
from pathlib import Path

from mpfw import paths
from mpfw.expand import ExpandError, frozen_texts
from mpfw.expand.modules import read
from mpfw.guest.names import missing, undefined
from mpfw.image import romfs
from mpfw.image.built import Build, NotBuiltError

FW_CFG = "opt/micropython/overlay"
MODULES = paths.ROOT / "mpy_modules"
# These run before an overlay is there, or say what the image is built of.
FIXED = tuple(map(Path, ("_boot.py", "_overlay.py", "boot.py", "main.py", "manifest.py")))


class OverlayError(Exception):
    """Why there is no overlay: one sentence, with file and line if something in it is wrong."""


@dataclass(frozen=True)
class Overlay:
    """What is handed to a guest."""

    replaced: tuple[Path, ...]  # modules of the image, as paths below mpy_modules
    added: tuple[Path, ...]  # modules that the image does not have
    contents: bytes  # a ROMFS image: these, and the rest of their packages; empty without any

    @property
    def fw_cfg(self) -> dict[str, bytes]:
        """The guest's fw_cfg entries; none if all is as in the image."""
        return {FW_CFG: self.contents} if self.contents else {}

    def __str__(self) -> str:
        parts = [("in place of the frozen ones", self.replaced), ("new", self.added)]
        said = [f"{', '.join(map(str, each))} ({what})" for what, each in parts if each]
        return "overlay: " + ("; ".join(said) or "nothing differs from the image")


def overlay(
    directory: Path, image: Path = paths.IMAGE, build: Build | None = None, root: Path = MODULES
) -> Overlay:
    """The overlay of `directory` for guests that run `image`. Raises OverlayError."""
    build = build or Build()
    if not directory.is_dir():
        raise OverlayError(f"{directory}: there is no such directory")
    if not _files(directory):
        raise OverlayError(f"{directory}: there is no module (*.py) in it")
    try:
        build.check(image)
    except NotBuiltError as error:
        raise OverlayError(str(error)) from None
    files = _files(root) | _files(directory)
    texts = _texts(root, directory)
    changed = {path: text for path, text in texts.items() if text != _frozen(build, path)}
    for path in FIXED:
        if path in changed:
            raise OverlayError(f"{files[path]}: no overlay replaces this file: make image does")
    with tempfile.TemporaryDirectory(prefix="mpfw-") as name:
        target = Path(name)
        _complete_packages(build, changed, target)
        for path, text in changed.items():
            _compile(build, path, text, files[path], target)
        contents = romfs.load(target) if changed else b""
    known = {path for path in changed if (build.modules / path).exists()}
    return Overlay(tuple(sorted(known)), tuple(sorted(set(changed) - known)), contents)


def _files(directory: Path) -> dict[Path, Path]:
    """The modules in a directory: {path below it: file}."""
    return {path.relative_to(directory): path for path in sorted(directory.rglob("*.py"))}


def _texts(root: Path, directory: Path) -> dict[Path, str]:
    """The modules of the whole tree, as they would be frozen, after a look at their names."""
    gc.disable()  # it would look for garbage among syntax trees a fifth of the time
    try:
        texts = frozen_texts(root, directory)
        wrong = undefined(list(_files(directory).values())) or missing(read(root, directory))
    except ExpandError as error:
        raise OverlayError(str(error)) from None
    finally:
        gc.enable()
    if wrong:
        raise OverlayError(wrong)
    return texts


def _frozen(build: Build, path: Path) -> str | None:
    """The text of which the image's module was made; None if it has none."""
    file = build.modules / path
    return file.read_text() if file.exists() else None


def _complete_packages(build: Build, changed: dict[Path, str], target: Path) -> None:
    """Put the image's own modules beside changed ones: a package's are looked for in one place."""
    for name in {path.parts[0] for path in changed if len(path.parts) > 1}:
        ours = (build.modules / name).is_dir()  # upstream's packages are frozen as they are
        for file in (build.compiled / name).rglob("*.mpy"):
            path = file.relative_to(build.compiled)
            if ours and not (build.modules / path.with_suffix(".py")).exists():
                continue  # left by an earlier build
            (target / path).parent.mkdir(parents=True, exist_ok=True)
            (target / path).write_bytes(file.read_bytes())


def _compile(build: Build, path: Path, text: str, file: Path, target: Path) -> None:
    """Compile a module's expanded `text`; `file` is where its source lies."""
    place = (target / path).with_suffix(".mpy")
    place.parent.mkdir(parents=True, exist_ok=True)
    command = [str(build.mpy_cross), *build.flags, "-s", str(path), "-o", str(place), "-"]
    run = subprocess.run(command, input=text, capture_output=True, text=True, check=False)
    if run.returncode != 0:
        raise OverlayError(_complaint(run.stderr, file))


def _complaint(said: str, file: Path) -> str:
    """mpy-cross's traceback as one sentence with the source's line."""
    lines = said.strip().splitlines() or ["mpy-cross failed and said nothing"]
    places = re.findall(r'File ".*", line (\d+)(?:, in (\S+))?', said)
    if not places:
        return f"{file}: {lines[-1]}"
    line, function = int(places[-1][0]), places[-1][1]
    source = file.read_text()
    if line > len(source.splitlines()):  # an expanded function, which was put at the end
        line = _line_of(function, source)
    inside = f"in {function}: " if function else ""
    return f"{file}:{line}: {inside}{lines[-1]}"


def _line_of(function: str, source: str) -> int:
    """Where a function is defined: `f`, or `_Class_f` for a method that was put at the end."""
    lines = {}
    for node in ast.parse(source).body:
        prefix, members = "", [node]
        if isinstance(node, ast.ClassDef):
            prefix, members = f"_{node.name}_", node.body
        for each in members:
            if isinstance(each, ast.FunctionDef):
                lines[prefix + each.name] = each.lineno
    return lines.get(function, len(source.splitlines()))

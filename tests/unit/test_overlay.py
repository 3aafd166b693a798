# SPDX-License-Identifier: MIT
"""`--overlay`: which modules are handed to a guest, and what is said of those that cannot be."""

import os
from collections.abc import Callable
from pathlib import Path

import pytest
from click.testing import CliRunner

from mpfw import paths
from mpfw.expand import expanded_texts
from mpfw.guest.overlay import (
    FW_CFG,
    MODULES,
    Overlay,
    OverlayError,
    overlay,
)
from mpfw.image.built import Build
from mpfw.run import parts
from mpfw.run.command import run

INLINE = "def inline(function):\n    return function\n"
COUNTER = """\
import micropython
from inline import inline
from micropython import const

STEP = const(3)


@inline
@micropython.viper
def bump(n: int) -> int:
    return n + STEP


class Cell:
    kind = "one whose method is expanded"

    @micropython.viper
    def twice(self, n: int) -> int:
        a = bump(n)
        return a + a
"""
USER = """\
import micropython

from .counter import bump


@micropython.viper
def run(n: int) -> int:
    n = bump(n)
    return n
"""
TREE = {
    "_boot.py": "print('boot')\n",
    "inline.py": INLINE,
    "plain.py": "import sys\n\nNAME = 'plain'\n",
    "pack/__init__.py": "",
    "pack/counter.py": COUNTER,
    "pack/user.py": USER,
    "pack/other.py": "from plain import NAME\n",
}


def write(root: Path, files: dict[str, str]) -> Path:
    for name, text in files.items():
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    return root


class Project:
    """A small tree, built as `make image` builds the real one, with its payload."""

    def __init__(self, directory: Path):
        self.root = write(directory / "modules", TREE)
        self.directory = directory / "overlay"
        self.port = directory / "port"
        for path, text in expanded_texts(self.root).items():
            write(self.port / "modules", {str(path): text})
            compiled = str(path.with_suffix(".mpy"))
            write(self.port / "frozen_mpy", {compiled: f"compiled {path}"})
        write(self.port / "frozen_mpy", {"upstream/core.mpy": "", "pack/stale.mpy": ""})
        flags = (paths.BUILD / "port" / "mpy-cross.flags").read_text()
        write(self.port, {"modules.stamp": "", "mpy-cross.flags": flags})
        self.payload = self.port / "micropython.elf"
        self.payload.write_bytes((paths.BUILD / "port" / "micropython.elf").read_bytes())

    def overlay(self, files: dict[str, str]) -> Overlay:
        write(self.directory, files)
        return overlay(self.directory, paths.IMAGE, Build(port=self.port), self.root)


@pytest.fixture
def project(tmp_path: Path) -> Project:
    return Project(tmp_path)


def names(modules: Overlay) -> list[str]:
    return [str(path) for path in modules.replaced]


# -- which modules ------------------------------------------------------------------------------


def test_a_copy_of_the_tree_differs_in_nothing(project: Project) -> None:
    modules = project.overlay(TREE)
    assert modules.replaced == modules.added == ()
    assert modules.fw_cfg == {}
    assert "nothing differs" in str(modules)


def test_an_edited_module_is_handed_in(project: Project) -> None:
    modules = project.overlay({"plain.py": "NAME = 'edited'\n"})
    assert names(modules) == ["plain.py"]
    assert b"edited" in modules.fw_cfg[FW_CFG]
    assert str(modules) == "overlay: plain.py (in place of the frozen ones)"


def test_an_inlined_function_takes_its_callers_along(project: Project) -> None:
    changed = COUNTER.replace("n + STEP", "n - STEP")
    assert names(project.overlay({"pack/counter.py": changed})) == [
        "pack/counter.py",
        "pack/user.py",
    ]


def test_a_constant_takes_along_whom_it_is_folded_into(project: Project) -> None:
    changed = COUNTER.replace("const(3)", "const(4)")
    assert "pack/user.py" in names(project.overlay({"pack/counter.py": changed}))


def test_a_module_edited_since_the_build_is_handed_in_as_well(project: Project) -> None:
    write(project.root, {"plain.py": "NAME = 'since'\n"})
    assert names(project.overlay({"pack/other.py": "x = 1\n"})) == ["pack/other.py", "plain.py"]


def test_a_new_module_is_handed_in(project: Project) -> None:
    modules = project.overlay({"new.py": "x = 'brand-new'\n"})
    assert modules.replaced == ()
    assert modules.added == (Path("new.py"),)
    assert b"brand-new" in modules.contents


def test_the_rest_of_its_package_comes_along_as_it_was_frozen(project: Project) -> None:
    contents = project.overlay({"pack/other.py": "x = 1\n"}).contents
    for name in ("__init__", "counter", "user"):
        assert f"compiled pack/{name}.py".encode() in contents
    assert b"compiled pack/other.py" not in contents  # that is the edited one
    assert b"compiled plain.py" not in contents
    assert b"stale" not in contents


def test_a_package_of_upstream_is_completed_too(project: Project) -> None:
    assert b"core.mpy" in project.overlay({"upstream/more.py": "x = 1\n"}).contents


def test_the_projects_own_tree_is_what_the_image_was_built_of() -> None:
    assert overlay(MODULES).replaced == ()


# -- what cannot be -----------------------------------------------------------------------------

VIPER = "import micropython\n\nNAME = 1\n\n\n@micropython.viper\ndef f(n: int):\n    n = 'text'\n"
IN_EXPANDED = COUNTER.replace("        return a + a", "        a = 'text'\n        return a")
BAD = {
    "syntax": ({"plain.py": "x = 1\n\ndef f(:\n"}, "plain.py:3: invalid syntax"),
    "what MicroPython's grammar lacks": (
        {"plain.py": "NAME = 1\nmatch NAME:\n    case 1: pass\n"},
        "plain.py:2: SyntaxError: invalid syntax",
    ),
    "an undefined name": (
        {"plain.py": "NAME = 1\n\n\ndef f():\n    return naem\n"},
        "plain.py:5: undefined name `naem`",
    ),
    "a name that a module lacks": (
        {"pack/other.py": "\nfrom plain import NAMES\n"},
        "pack/other.py:2: module plain has no NAMES",
    ),
    "a module that is not there": (
        {"pack/other.py": "from .missing import x\n"},
        "pack/other.py:1: there is no module pack.missing",
    ),
    "what others want of a module": (
        {"plain.py": "OTHER = 1\n"},
        "modules/pack/other.py:1: module plain has no NAME",
    ),
    "what cannot be expanded": (
        {
            "pack/counter.py": COUNTER.replace(
                "    return n + STEP", "    while n:\n        return n"
            )
        },
        "pack/counter.py:12: return inside a loop of an @inline function",
    ),
    "viper": (
        {"plain.py": VIPER},
        "plain.py:7: in f: ViperTypeError: local 'n' has type 'int' but source is 'object'",
    ),
    "viper in an expanded method": (
        {"pack/counter.py": IN_EXPANDED},
        "pack/counter.py:18: in _Cell_twice: ViperTypeError",
    ),
    "bytes that are no text": (
        {"plain.py": "x = 1\ny = '\udcff'\n"},
        "plain.py:2: this is not UTF-8",
    ),
    "what runs too early": (
        {"_boot.py": "print('mine')\n"},
        "_boot.py: no overlay replaces this file: make image does",
    ),
}


@pytest.mark.parametrize("what", BAD)
def test_bad_input_is_one_sentence_with_file_and_line(
    project: Project, what: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    files, sentence = BAD[what]
    monkeypatch.setattr(Path, "write_text", write_any)
    with pytest.raises(OverlayError) as raised:
        project.overlay(files)
    said = str(raised.value)
    assert sentence in said
    assert "\n" not in said
    assert said.startswith(str(project.directory.parent))


def write_any(path: Path, text: str) -> None:
    """Path.write_text for text that stands for bytes."""
    path.write_bytes(text.encode(errors="surrogateescape"))


def test_a_compiler_that_breaks_down_is_a_sentence_too(project: Project) -> None:
    # An attribute of an integer: mpy-cross 1.25 ends with a failed assertion.
    text = VIPER.replace("n = 'text'", "return n.x")
    with pytest.raises(OverlayError, match=r"plain\.py: .*[Aa]ssert"):
        project.overlay({"plain.py": text})


def test_imports_that_something_catches_may_fail(project: Project) -> None:
    text = "try:\n    from plain import LATER\nexcept ImportError:\n    LATER = None\n"
    assert names(project.overlay({"pack/other.py": text})) == ["pack/other.py"]


def test_names_that_functions_bind_are_names_of_the_module(project: Project) -> None:
    late = "def f():\n    global NAME\n    NAME = 1\n"
    assert names(project.overlay({"plain.py": late})) == ["plain.py"]


def test_a_directory_that_is_not_there(project: Project) -> None:
    with pytest.raises(OverlayError, match="overlay: there is no such directory"):
        overlay(project.directory, paths.IMAGE, Build(port=project.port), project.root)


def test_a_directory_without_modules(project: Project) -> None:
    project.directory.mkdir()
    with pytest.raises(OverlayError, match="there is no module"):
        project.overlay({"readme.txt": ""})


def test_an_image_of_another_build(project: Project) -> None:
    project.payload.write_bytes(b"another one")
    with pytest.raises(OverlayError, match=r"final_vsock.bin: not made of .*: make image"):
        project.overlay({"plain.py": "NAME = 1\n"})


def test_a_build_that_was_broken_off(project: Project) -> None:
    later = project.payload.stat().st_mtime + 60
    os.utime(project.port / "modules.stamp", (later, later))
    with pytest.raises(OverlayError, match="broken off: make image"):
        project.overlay({"plain.py": "NAME = 1\n"})


def test_no_build(project: Project) -> None:
    project.payload.unlink()
    with pytest.raises(OverlayError, match="no build to compare with: make image"):
        project.overlay({"plain.py": "NAME = 1\n"})


@pytest.mark.parametrize("files", [{"vsock/oops.py": "x = (\n"}, None])
def test_run_says_it_in_one_line_and_starts_no_guest(
    files: dict[str, str] | None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def no_guest(*_: object, **__: object) -> Callable:
        raise AssertionError("a guest was about to be started")

    monkeypatch.setattr(parts, "guest", no_guest)
    directory = write(tmp_path / "laid", files or {})
    result = CliRunner().invoke(run, ["--overlay", str(directory)])
    assert result.exit_code == 1, result.output
    assert len(result.output.splitlines()) == 1
    where = "vsock/oops.py:1: '(' was never closed" if files else ": there is no such directory"
    assert result.output.startswith(f"mpfw: {directory}") and where in result.output

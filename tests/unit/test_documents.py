# SPDX-License-Identifier: MIT
"""What documents and comments name is in the tree: documents, links, files, functions."""

import re
import subprocess
from collections.abc import Iterator
from pathlib import Path

import click

from mpfw import paths
from mpfw.cli import main

MADE = {".git", ".hypothesis", "build"}  # at the top of the tree
OTHERS = ("build/", "directory/", "opt/")  # paths of a build, of a reader's own, of fw_cfg
FOLDERS = {path.name for path in paths.ROOT.iterdir() if path.is_dir()} - MADE


def tracked() -> list[Path]:
    """The tree's files, relative to its top."""
    command = ["git", "ls-files", "--cached", "--others", "--exclude-standard"]
    found = subprocess.run(command, cwd=paths.ROOT, capture_output=True, text=True, check=False)
    if found.returncode == 0:
        files = [Path(name) for name in found.stdout.splitlines()]
    else:
        files = [path.relative_to(paths.ROOT) for path in paths.ROOT.rglob("*")]
    return [path for path in sorted(files) if (paths.ROOT / path).is_file() and not made(path)]


def made(path: Path) -> bool:
    """True for what no source tree has."""
    return path.parts[0] in MADE or "__pycache__" in path.parts


def texts() -> Iterator[tuple[Path, str]]:
    """The files that hold text."""
    for path in tracked():
        try:
            yield path, (paths.ROOT / path).read_text()
        except UnicodeDecodeError:
            pass  # a picture


def documents() -> Iterator[tuple[Path, str]]:
    for path, text in texts():
        if path.suffix == ".md":
            yield path, text


def resolved(name: str, *starts: Path) -> Path | None:
    """The file or folder of that name, from the top or from one of `starts`."""
    for start in (Path(), *starts):
        if (paths.ROOT / start / name).exists():
            return paths.ROOT / start / name
    return None


def test_there_are_documents():
    assert {"README.md", "CONTRIBUTING.md"} <= {str(path) for path, _ in documents()}


def test_every_document_that_is_named_is_in_the_tree():
    missing = [
        f"{path}: {name}"
        for path, text in texts()
        for name in re.findall(r"[\w.:/-]*\w\.md\b", text)
        if "://" not in name and not resolved(name.lstrip("/"), path.parent)
    ]
    assert not missing


def slug(heading: str) -> str:
    """What a heading is called in a link."""
    return re.sub(r"[^\w -]", "", heading).strip().lower().replace(" ", "-")


def test_every_link_leads_somewhere():
    broken = []
    for path, text in documents():
        for target, anchor in re.findall(r"\]\(([^)#\s]*)#?([^)\s]*)\)", text):
            if "://" in target:
                continue
            found = paths.ROOT / path.parent / target if target else paths.ROOT / path
            headings = re.findall(r"^#+ (.*)$", found.read_text(), re.M) if anchor else []
            if not found.exists() or (anchor and anchor not in map(slug, headings)):
                broken.append(f"{path}: {target}#{anchor}")
    assert not broken


def defines(file: Path, name: str) -> bool:
    """True if a source file has all of a dotted name: classes, functions, constants."""
    text = file.read_text()
    if file.suffix == ".py":
        patterns = [rf"^\s*(def|class) {part}\b|^{part} = " for part in name.split(".")]
    else:
        patterns = [rf"^[^\s#/].*\b{name}\("]
    return all(re.search(pattern, text, re.M) for pattern in patterns)


def test_every_file_and_function_that_a_document_names_is_there():
    missing = []
    for path, text in documents():
        prose = re.sub(r"^```.*?^```", "", text, flags=re.M | re.S)
        for name, function in re.findall(r"`([\w./-]+)(?:: ([\w.]+))?`", prose):
            is_file = re.search(r"\.(py|c|h|S|asm|toml)$", name) and ("/" in name or function)
            is_folder = "/" in name and name.split("/")[0] in FOLDERS
            if name.startswith(("/", *OTHERS)) or not (is_file or is_folder):
                continue
            found = resolved(name, Path("mpy_modules"))
            if found is None or (function and not defines(found, function)):
                missing.append(f"{path}: {name} {function}".rstrip())
    assert not missing


def commands_in_prose() -> Iterator[tuple[Path, list[str]]]:
    """(document, words) of every `mpfw ...` in running text."""
    for path, text in documents():
        prose = re.sub(r"^```.*?^```", "", text, flags=re.M | re.S)
        for command in re.findall(r"`mpfw ([^`\n]+)`", prose):
            yield path, command.split()


def test_every_command_and_option_in_running_text_is_there():
    wrong = []
    for path, words in commands_in_prose():
        command: click.Command | None = main
        while isinstance(command, click.Group) and words and not words[0].startswith("-"):
            command = command.get_command(click.Context(command), words.pop(0))
        known = [name for one in command.params for name in one.opts] if command else []
        options = [word.split("=")[0] for word in words if word.startswith("-") and word != "-"]
        wrong += [f"{path}: {option}" for option in options if option not in [*known, "-h"]]
        wrong += [str(path)] * (command is None)
    assert not wrong

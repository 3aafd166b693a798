# SPDX-License-Identifier: MIT
"""Commands in documents, examples and help texts: what is typed where, and what is shown then.

A block in which a line begins with `$ ` is a session: what follows a command is all that it
prints. Other blocks list commands: each line that begins with a program's name is one. A block of
Python whose first line is `# name.py` is a file that the reader writes.
"""

import ast
import re
from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from pathlib import Path

PROGRAMS = (
    *("make", "mpfw", "pytest", "mpremote", "qemu-system-x86_64", "socat", "vhost-device-vsock"),
    *(
        "truncate",
        "curl",
        "python3",
        "build/venv/bin/mpfw",
        "ci/smoke",
        "pip",
        "git",
        "eval",
        "echo",
        ".",
    ),
)
SHELL = "$ "
PROMPTS = (SHELL, ">>> ", "(gdb) ")


@dataclass(frozen=True)
class Step:
    """Something typed into a terminal. `shown` is all it prints, None where nothing is shown."""

    line: int  # of the document, from 1
    prompt: str
    typed: str
    terminal: str  # "1", unless a block says another
    shown: list[str] | None


@dataclass(frozen=True)
class Section:
    """What stands below one heading. `files` are those that the document has had written by then,
    by name."""

    document: str
    heading: str
    steps: list[Step]
    files: dict[str, str]

    def __str__(self) -> str:
        return f"{self.document}: {self.heading}" if self.heading else self.document


@dataclass
class _Block:
    """Lines of code; `info` is what stands behind the fence: a language, a terminal."""

    line: int
    info: list[str] = field(default_factory=list)
    lines: list[str] = field(default_factory=list)


def sections(document: str, text: str) -> Iterator[Section]:
    """The sections of a Markdown document that have commands."""
    files: dict[str, str] = {}
    heading, steps = "", list[Step]()
    for part in _parts(text):
        if isinstance(part, str):
            if steps:
                yield Section(document, heading, steps, dict(files))
            heading, steps = part, []
            continue
        name = _file(part)
        if name:
            files[name] = "\n".join(part.lines) + "\n"
        else:
            steps += _steps(part)
    if steps:
        yield Section(document, heading, steps, dict(files))


def example(path: Path) -> Section:
    """The commands in a program's docstring."""
    text = ast.get_docstring(ast.parse(path.read_text()), clean=False) or ""
    found = list(sections(path.name, text))
    return found[0] if found else Section(path.name, "", [], {})


def help_examples(name: str, text: str) -> Section:
    """The commands below "Examples:" in a help text; two blanks and what they do come behind."""
    below = re.search(r"^ *Examples:\n((?: +.*\n?)+)", text, re.M)
    steps = []
    for number, line in enumerate(below[1].splitlines() if below else (), 1):
        command = re.split(r"\s{2,}", line.strip())[0]
        steps.append(Step(number, SHELL, command, "1", None))
    return Section(f"{name} -h", "", steps, {})


def _parts(text: str) -> Iterator[str | _Block]:
    """Headings and blocks in their order."""
    block: _Block | None = None
    fence = ""
    blank = True  # the line before was: an indented block may begin
    for number, line in enumerate(text.splitlines(), 1):
        if fence:
            assert block is not None
            if line.strip() == fence:
                yield block
                block, fence = None, ""
            else:
                block.lines.append(line)
            continue
        if line.startswith("    ") and (block or blank):
            block = block or _Block(number)
            block.lines.append(line[4:])
            continue
        if block and not line.strip():
            block.lines.append("")
            continue
        if block:
            yield block
            block = None
        blank = not line.strip()
        if line.startswith("```"):
            fence, block = "```", _Block(number + 1, line[3:].split())
        elif line.startswith("#"):
            yield line.lstrip("# ")
    if block:
        yield block


def _file(block: _Block) -> str:
    """The name of the file that a block is, or nothing."""
    first = block.lines[0] if block.lines else ""
    found = re.fullmatch(r"# ([\w./-]+\.py)", first)
    return found[1] if found else ""


def _steps(block: _Block) -> list[Step]:
    if not any(line.startswith(SHELL) for line in block.lines):
        return list(_listed(block))
    terminal = next((word for word in block.info if word.isdigit()), "1")
    steps: list[Step] = []
    for number, line in enumerate(block.lines, block.line):
        prompt = next((one for one in PROMPTS if line.startswith(one)), None)
        if prompt:
            typed = line.removeprefix(prompt)
            steps.append(Step(number, prompt, typed, terminal, []))
        elif steps and steps[-1].typed.endswith("\\") and not steps[-1].shown:
            steps[-1] = replace(steps[-1], typed=f"{steps[-1].typed}\n{line}")
        elif steps:
            shown = steps[-1].shown
            assert shown is not None
            shown.append(line)
    for step in steps:
        while step.shown and not step.shown[-1].strip():
            step.shown.pop()
    return steps


def _listed(block: _Block) -> Iterator[Step]:
    """Commands of a block that shows nothing of what they print."""
    lines = iter(enumerate(block.lines, block.line))
    for number, line in lines:
        if line.split(" ")[0] not in PROGRAMS:
            continue
        while line.endswith("\\"):
            line += "\n" + next(lines)[1]
        yield Step(number, SHELL, line, "1", None)

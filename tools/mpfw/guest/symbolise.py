# SPDX-License-Identifier: MIT
"""The addresses in reports of CPU exceptions as functions and lines.

Reports come from the payload (port/exception.c) or the IPL (firmware/ipl/exceptions.c). binutils
reads the ELF files: nm for functions, those of frozen Python code among them (mpfw.image.frozen),
addr2line for the lines of C.
"""

import bisect
import re
import subprocess
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import TextIO

import click

from mpfw.image.built import Build, NotBuiltError
from mpfw.image.frozen import PREFIX
from mpfw.usage import examples

_WHERE = (
    re.compile(r"CPU exception \d+ .* at ([0-9a-f]+)$"),  # the payload's
    re.compile(r"CPU exception \d+ at ([0-9a-f]+) while reporting one"),
    re.compile(r"CPU exception \d+ at 0x([0-9a-f]+): error code"),  # the IPL's
)
_RETURNS = re.compile(r"return addresses:((?: [0-9a-f]+)+)$")
_ELSEWHERE = "not in the image's code: native code made at run time, or no code at all"


class SymbolsError(Exception):
    """An ELF file that cannot be read: one sentence."""


class Symbols:
    """The functions and data of one ELF file by address."""

    def __init__(self, elf: Path):
        self._elf = elf
        listing = _run("nm", "-n", "-S", "--defined-only", elf)
        found = re.findall(r"^(\w{16})(?: (\w{16}))? [tTrRdDwW] (\S+)$", listing, re.MULTILINE)
        starts = [int(start, 16) for start, _, _ in found]
        following = [*starts[1:], starts[-1] if starts else 0]
        # What is written in assembly has no size: it reaches to what follows.
        self._table = [
            (start, start + int(size, 16) if size else end, name)
            for start, end, (_, size, name) in zip(starts, following, found, strict=True)
        ]
        self._starts = starts

    def find(self, address: int) -> tuple[str, int] | None:
        """The symbol that `address` lies in, and how far in it."""
        # Before it there may be labels within the same function.
        for i in range(bisect.bisect_right(self._starts, address) - 1, -1, -1):
            start, end, name = self._table[i]
            if address < end:
                return name, address - start
            if end > start:
                break
        return None

    def name(self, address: int) -> str | None:
        """The symbol that `address` lies in."""
        found = self.find(address)
        return found[0] if found else None

    def lines(self, address: int) -> list[str]:
        """`function at file:line` of a C function, then of those that it was inlined into."""
        said = _run("addr2line", "-f", "-i", "-e", self._elf, f"{address:#x}").splitlines()
        return [
            f"{function} at {_short(line)}"
            for function, line in zip(said[::2], said[1::2], strict=True)
            if not line.startswith("??") and not line.endswith(":?")
        ]


class Code:
    """The code of a firmware: the payload's and the IPL's."""

    def __init__(self, elfs: Iterable[Path]):
        self._parts = [Symbols(elf) for elf in elfs]
        self._known: dict[tuple[int, bool], str] = {}

    def describe(self, address: int, returned_to: bool = False) -> str:
        """What lies at an address: function and line.

        A return address is that of the instruction after the call, which may be another line's.
        """
        key = (address, returned_to)
        if key not in self._known:
            self._known[key] = self._describe(address, returned_to)
        return self._known[key]

    def _describe(self, address: int, returned_to: bool) -> str:
        at = address - returned_to
        for symbols in self._parts:
            found = symbols.find(at)
            if found:
                name, offset = found[0], found[1] + returned_to
                if name.startswith(PREFIX):
                    return f"{name.removeprefix(PREFIX)}+{offset:#x} (frozen Python)"
                lines = symbols.lines(at)
                return ", inlined in ".join(lines) or f"{name}+{offset:#x}"
        return _ELSEWHERE

    def explain(self, line: str) -> list[str]:
        """What is to be said after one line of a report; nothing after any other line."""
        line = line.rstrip()
        for pattern in _WHERE:
            match = pattern.search(line)
            if match:
                address = int(match.group(1), 16)
                return [f"    at {address:x}: {self.describe(address)}"]
        match = _RETURNS.search(line)
        addresses = [int(word, 16) for word in match.group(1).split()] if match else []
        return [f"    {each:x}: {self.describe(each, returned_to=True)}" for each in addresses]


def annotate(text: str, code: Code) -> Iterator[str]:
    """The lines of `text`, those of a report followed by what their addresses are."""
    for line in text.splitlines():
        yield line
        yield from code.explain(line)


def explanation(text: str, image: Path) -> str:
    """The last report in a guest's output, its addresses explained; empty if there is none.

    Says so if they cannot be told because `image` is not of this tree's build.
    """
    start = text.rfind("CPU exception")
    if start < 0:
        return ""
    build = Build()
    try:
        build.check(image)
        said = annotate(text[start:], Code(build.symbols))
        return "\n".join(line for line in said if line.startswith(("CPU exception", "    ")))
    except (NotBuiltError, SymbolsError) as error:
        return str(error)


def _run(program: str, *arguments: str | Path) -> str:
    try:
        run = subprocess.run([program, *arguments], capture_output=True, text=True, check=False)
    except FileNotFoundError:
        raise SymbolsError(f"{program} is missing: apt install binutils") from None
    if run.returncode != 0:
        raise SymbolsError(run.stderr.strip().splitlines()[-1])
    return run.stdout


def _short(line: str) -> str:
    """`file:line` with the file's path from the project's top directory, for which ./ stands.

    addr2line puts the compiler's directory before it: ./port/./build/....
    """
    return line.split(" (discriminator")[0].rpartition("/./")[2].removeprefix("./")


@click.command(
    epilog=examples(
        "mpfw symbolise debug.log         a log with a report in it",
        "mpfw symbolise <debug.log        from standard input",
    )
)
@click.argument("file", type=click.File(errors="backslashreplace"), default="-")
@click.option(
    "--elf",
    "elfs",
    type=click.Path(path_type=Path, exists=True, dir_okay=False),
    multiple=True,
    help="ELF files with symbols in place of the build's: micropython.sym.elf, ipl.elf.",
)
def symbolise(file: TextIO, elfs: tuple[Path, ...]) -> None:
    """Print FILE (or standard input), the addresses in reports of CPU exceptions explained.

    The image that the report is of must be the one that the ELF files were built with.
    """
    if not elfs:
        elfs = tuple(elf for elf in Build().symbols if elf.exists())
        if not elfs:
            raise click.ClickException("there is no build to take symbols from: make image")
    try:
        code = Code(elfs)
        for line in annotate(file.read(), code):
            print(line)
    except SymbolsError as error:
        raise click.ClickException(str(error)) from None

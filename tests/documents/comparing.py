# SPDX-License-Identifier: MIT
"""What a document shows against what was printed: the same, but for what varies by its nature."""

import re

# What is not the same twice, and what stands for it in a pattern.
_VARIES = (
    (r"\d[\d,.]*(?= ?(?:ns|us|µs|ms|s|minutes|KiB|MB/s|GB/s|%)(?!\w))", r"\d[\d,.]*"),  # measured
    (r"\b(?:0x)?[0-9a-f]{6,}\b", r"(?:0x)?[0-9a-f]+"),  # addresses, random bytes
    (r"/tmp/[\w./-]+", r"/tmp/[\w./-]+"),
    (r"/dev/pts/\d+", r"/dev/pts/\d+"),
    (r"\bv?\d+\.\d+\.\d+[\w.+~-]*", r"[\w.+~-]+"),  # versions
    (r"\b\d{4}-\d\d-\d\d\b", r"\d{4}-\d\d-\d\d"),
    (r" +", r" +"),  # columns
    (r"\.\.\.", r".*"),
)
_PIECES = re.compile("|".join(f"({found})" for found, _ in _VARIES))
_JOBS = re.compile(r"\[\d+\][+-]?  ?.*")  # what a shell says of its jobs


def pattern(line: str) -> str:
    """The regular expression of the lines that a shown line stands for."""
    parts, at = [], 0
    for found in _PIECES.finditer(line):
        parts += [re.escape(line[at : found.start()]), _VARIES[(found.lastindex or 0) - 1][1]]
        at = found.end()
    return "".join([*parts, re.escape(line[at:])])


def printed(text: str) -> list[str]:
    """A terminal's lines, without what the shell says of its jobs."""
    lines = [line.rstrip() for line in text.replace("\r\n", "\n").replace("\r", "").split("\n")]
    lines = [line for line in lines if not _JOBS.fullmatch(line)]
    while lines and not lines[-1]:
        lines.pop()
    return lines


def same(shown: list[str], lines: list[str]) -> bool:
    """Whether the lines printed are those shown; a shown line "..." stands for any number."""
    if not shown:
        return not lines
    first, *rest = shown
    if first.strip() == "...":
        return any(same(rest, lines[at:]) for at in range(len(lines) + 1))
    return bool(lines) and matches(first, lines[0]) and same(rest, lines[1:])


def matches(shown: str, line: str) -> bool:
    """Whether a line printed is the one shown."""
    return re.fullmatch(pattern(shown.rstrip()), line) is not None

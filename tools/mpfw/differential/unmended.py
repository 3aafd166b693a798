# SPDX-License-Identifier: MIT
"""The list of what is to be mended, at the end of tests/differential/differences.toml.

What differs is grouped by how: a mended difference takes its whole group away when the list is
made anew (`mpfw differential --compare --note`).
"""

import json
import re
from collections.abc import Iterable, Mapping
from pathlib import Path

from mpfw.differential import table
from mpfw.differential.compare import Difference

_HEAD = "[unmended]\n"
_CALL = re.compile(r"\d+ (\w+) s\d+: (.*)")


def reason(difference: Difference) -> str:
    """How it differs: the same for all scenarios that differ so."""
    calls, theirs = zip(*(_parts(line) for line in difference.linux), strict=True)
    _, ours = _parts(difference.ours)
    call = f"{calls[0]}: " if calls[0] else ""
    return f"{call}Linux {' or '.join(dict.fromkeys(theirs))}, here {ours}"


def _parts(line: str | None) -> tuple[str, str]:
    """The call of a dialogue's line, or "", and what is left."""
    if line is None:
        return "", "nothing"
    match = _CALL.fullmatch(line)
    return (match.group(1), match.group(2)) if match else ("", line)


def note(run: Iterable[str], found: Mapping[str, str], path: Path = table.FILE) -> None:
    """Write down what differs of the scenarios that have run: {name: how}."""
    ran = set(run)
    kept = {name: why for name, why in table.load(path).unmended.items() if name not in ran}
    groups: dict[str, list[str]] = {}
    for name, why in {**kept, **found}.items():
        groups.setdefault(why, []).append(name)
    before, _, _ = path.read_text().partition(f"\n{_HEAD}")
    lines = [f"{before}\n{_HEAD}"]
    for why, names in sorted(groups.items(), key=lambda group: (-len(group[1]), group[0])):
        lines.append(f"{json.dumps(why)} = [\n")
        lines += [f"    {json.dumps(name)},\n" for name in sorted(names)]
        lines.append("]\n")
    path.write_text("".join(lines))

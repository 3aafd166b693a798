# SPDX-License-Identifier: MIT
"""What each call came to in each state, of everything recorded: the tables of docs/errno.md."""

import errno
import re
from collections import defaultdict
from collections.abc import Iterable
from pathlib import Path

from mpfw.differential import recorded, states, table
from mpfw.differential.dialogues import Dialogue
from mpfw.differential.recorded import Entry
from mpfw.differential.scenarios import HOST, LOOPBACK, Scenario

BEGIN = "<!-- outcomes -->"
END = "<!-- end of outcomes -->"
_HEADINGS = {
    LOOPBACK: "Over the loopback, which needs no device:",
    HOST: "Over the kernel's vhost-vsock, the guest's sockets:",
}
_STATES = states.STATES[1:]
_ERROR = re.compile(r"E[A-Z]+|[A-Z]\w*(Error|Exception)")
_DONE = "ok"

# (call, state) -> outcome -> the releases on which it was seen
Outcomes = dict[tuple[str, str], dict[str, set[str]]]


def outcome(call: str, result: str) -> str:
    """What a reader of the table wants to know of a result: errors, and the end of data."""
    if call == "connect_ex" and result.isdigit() and result != "0":
        return errno.errorcode.get(int(result), result)
    if _ERROR.fullmatch(result):
        return result
    if result == "timeout":
        return "timed out"
    return _DONE


def collect(
    scenarios: Iterable[Scenario], setting: str, folder: Path = recorded.FOLDER
) -> Outcomes:
    """The outcomes of all calls of dialogues and sequences of a setting."""
    found: Outcomes = defaultdict(lambda: defaultdict(set))
    entries: dict[str, dict[str, list[Entry]]] = {}
    for each in scenarios:
        if not isinstance(each, Dialogue) or each.setting != setting:
            continue
        if each.file not in entries:
            entries[each.file] = _by_name(recorded.read(each.file, folder))
        for entry in entries[each.file].get(each.name, []):
            _add(found, each, entry)
    return found


def _by_name(entries: Iterable[Entry]) -> dict[str, list[Entry]]:
    named: dict[str, list[Entry]] = {}
    for entry in entries:
        named.setdefault(entry.name, []).append(entry)
    return named


def _add(found: Outcomes, dialogue: Dialogue, entry: Entry) -> None:
    lines = entry.printed.splitlines()
    calls = states.calls(dialogue.program, entry.printed)
    for call, op, line in zip(calls, dialogue.program, lines, strict=False):
        if op.side != "host" and call.state in _STATES:
            result = outcome(call.name, line.partition(": ")[2])
            found[call.name, call.state][result].add(entry.release)


def render(scenarios: Iterable[Scenario]) -> str:
    """Both tables, between BEGIN and END."""
    scenarios = list(scenarios)
    lines = [BEGIN]
    for setting, heading in _HEADINGS.items():
        lines += ["", heading, "", table_of(collect(scenarios, setting))]
    return "\n".join([*lines, "", END])


def table_of(found: Outcomes) -> str:
    """A row for each call, a column for each state."""
    lines = [f"| call | {' | '.join(_STATES)} |", "| --- " * (1 + len(_STATES)) + "|"]
    for call in sorted({call for call, _ in found}):
        cells = [_cell(found.get((call, state), {})) for state in _STATES]
        lines.append(f"| `{call}` |{'|'.join(f' {cell} ' if cell else ' ' for cell in cells)}|")
    return "\n".join(lines)


def _cell(outcomes: dict[str, set[str]]) -> str:
    def named(result: str) -> str:
        where = outcomes[result]
        few = len(where) < len(set().union(*outcomes.values()))
        return f"{result} ({', '.join(sorted(where))})" if few else result

    return ", ".join(named(each) for each in sorted(outcomes, key=lambda r: (r != _DONE, r)))


def rendered_into(document: str, scenarios: Iterable[Scenario]) -> str:
    """A document with its tables made anew. Raises TableError without a place for them."""
    return table.between(document, BEGIN, END, render(scenarios))

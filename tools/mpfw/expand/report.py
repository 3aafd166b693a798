# SPDX-License-Identifier: MIT
"""What `mpfw expand --report` prints: what was folded and inlined where, and what that costs."""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path

from mpfw.expand.inline import Place
from mpfw.expand.tree import Expansion


def folded(expansion: Expansion) -> Iterator[str]:
    """Lines: names folded in each module, by the module of constants they are from."""
    yield "Names folded, by module and by where they are defined"
    rows = []
    for module, counts in sorted(expansion.counts.items()):
        origins = ", ".join(f"{name} {count}" for name, count in sorted(counts.items()))
        if origins:
            rows.append((module, str(counts.total()), origins))
    total = sum(counts.total() for counts in expansion.counts.values())
    yield from _table([*rows, ("all", str(total), "")], "<><")


def inlined(expansion: Expansion, frozen: Iterable[str]) -> Iterator[str]:
    """Lines: where each @inline function went, and how often its body is in the frozen code.

    A body that is inlined in another goes wherever that goes. `frozen` are the native functions'
    names: an @inline function is among them if something calls it, too.
    """
    yield "Functions inlined: copies of the body in the frozen code, and where the calls stood"
    callers: dict[str, list[Place]] = {}
    for places in expansion.places.values():
        for place in places:
            callers.setdefault(place.callee, []).append(place)
    kept = set(frozen)
    copies: dict[str, int] = {}

    def count(name: str) -> int:
        if name not in copies:
            places = callers.get(name, [])
            copies[name] = sum(count(each.caller) + (each.caller in kept) for each in places)
        return copies[name]

    for name in sorted(callers):
        yield f"  {name}: {count(name)}{', and called' if name in kept else ''}"
        for place in sorted(callers[name]):
            yield f"      {place.caller}, line {place.line}"


def native(
    expansion: Expansion,
    sizes: Mapping[str, int],
    before: Mapping[str, int],
    without: Iterable[Path],
) -> Iterator[str]:
    """Lines: bytes of each native function, and what it was when every call was a call.

    The latter only where inlining made the difference: others may differ by a few bytes, as
    numbers of strings do. Modules `without` such a size are named.
    """
    inlining = {name for name, places in expansion.places.items() if places}
    inlining |= {each.callee for places in expansion.places.values() for each in places}
    yield "Native code in bytes: as frozen, and with calls in place of bodies"
    rows = []
    for name in sorted({*sizes, *before}):
        then = str(before.get(name, "?")) if name in inlining else ""
        rows.append((name, str(sizes.get(name, 0)), then))
    missing = ", ".join(map(str, without))
    total = "?" if missing else str(sum(before.values()))
    yield from _table([*rows, ("all", str(sum(sizes.values())), total)], "<>>")
    if missing:
        yield f"?: compiles only with bodies in place of calls: {missing}"


def _table(rows: Sequence[Sequence[str]], sides: str) -> Iterator[str]:
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    for row in rows:
        cells = zip(row, sides, widths, strict=True)
        yield "  " + "  ".join(f"{cell:{side}{width}}" for cell, side, width in cells).rstrip()

# SPDX-License-Identifier: MIT
"""A run of generated sequences: on a Linux and on the firmware at once, batch after batch.

What differs is asked of the other kernels, one of which may agree; then it is tried again, because
a starved machine lets time-outs pass too early; then it is shrunk. Of differences that look alike
(call, state, both results) one is shrunk, the others are counted.
"""

from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field

from mpfw.differential import compare, generate, states
from mpfw.differential.generate import Program
from mpfw.differential.shrink import shrink
from mpfw.differential.sides import both
from mpfw.differential.table import Call, Table

BATCH = 24
_AGAIN = 2  # times that a difference must be seen besides the first

Runner = Callable[[list[Program]], list[str]]  # what it prints of each


@dataclass(frozen=True)
class Kind:
    """What makes differences look alike."""

    call: str
    state: str
    linux: str
    ours: str

    def __str__(self) -> str:
        return f"{self.call}, {self.state}: Linux {self.linux!r}, here {self.ours!r}"


@dataclass
class Found:
    """A kind of difference: its shortest sequence, what either printed, and where it came from."""

    index: int
    program: Program
    linux: str
    ours: str


@dataclass
class Session:
    """What a run needs, and what it has found."""

    setting: str
    linuxes: list[Runner]  # the first runs all, the others what differs
    firmware: Runner
    table: Table
    told: Callable[[str], None]
    coverage: states.Coverage = field(default_factory=states.Coverage)
    found: dict[Kind, Found] = field(default_factory=dict)
    seen: Counter[Kind] = field(default_factory=Counter)
    passing: int = 0  # differences that were not seen again

    def run(self, seed: int, indices: range) -> None:
        """Run these sequences of a seed."""
        for start in range(0, len(indices), BATCH):
            chunk = indices[start : start + BATCH]
            programs = [generate.generate(seed, index, self.setting) for index in chunk]
            for index, program, theirs, ours in zip(chunk, *self._both(programs), strict=True):
                self.coverage.add(program, theirs)
                if self._kind(program, [theirs], ours) is not None:
                    self._look(index, program)
            self.told(f"{start + len(chunk)} of {len(indices)}: {len(self.found)} kinds differ")

    def _both(self, programs: list[Program]) -> tuple[list[Program], list[str], list[str]]:
        """The programs, what the first Linux printed of each, what the firmware did."""
        theirs, ours = both(lambda: self.linuxes[0](programs), lambda: self.firmware(programs))
        return programs, theirs, ours

    def _kind(self, program: Program, kernels: list[str], ours: str) -> Kind | None:
        calls = states.calls(program, kernels[0])

        def where(index: int) -> Call:
            return calls[index] if index < len(calls) else Call("", "")

        found = compare.first_difference(kernels, ours, where, self.table)
        if found is None:
            return None
        call = where(found.line - 1)
        return Kind(call.name, call.state, _result(found.linux[0]), _result(found.ours))

    def _outputs(self, programs: list[Program]) -> Iterator[tuple[Program, list[str], str]]:
        """Each program with what every kernel and the firmware print."""
        _, first, ours = self._both(programs)
        kernels = [first]
        if any(one != other for one, other in zip(first, ours, strict=True)):
            kernels += [other(programs) for other in self.linuxes[1:]]
        for place, program in enumerate(programs):
            yield program, [texts[place] for texts in kernels], ours[place]

    def _kinds(self, programs: list[Program]) -> list[Kind | None]:
        return [self._kind(*each) for each in self._outputs(programs)]

    def _look(self, index: int, program: Program) -> None:
        """Confirm a difference, and shrink the first of its kind."""
        kinds = self._kinds([program] * _AGAIN)
        kind = kinds[0]
        if kind is None or any(each != kind for each in kinds):
            self.passing += 1
            return
        self.seen[kind] += 1
        if kind not in self.found:
            self.told(f"sequence {index}: {kind}")
            short = shrink(program, lambda batch: [each == kind for each in self._kinds(batch)])
            ((_, kernels, ours),) = self._outputs([short])
            self.found[kind] = Found(index, short, kernels[0], ours)


def _result(line: str | None) -> str:
    """What a line says came of its call."""
    return "nothing" if line is None else line.partition(": ")[2]

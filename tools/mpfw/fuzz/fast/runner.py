# SPDX-License-Identifier: MIT
"""A batch in both engines, and what they came to side by side."""

import base64
import random

import coverage

from mpfw import paths
from mpfw.fuzz.cases import Case
from mpfw.fuzz.classes import Lines, Outcome
from mpfw.fuzz.fast.engines import Answer, Expanded, Source, TooLong, vsock_bench
from mpfw.fuzz.lines import SUBJECTS

GROWTH = 512 << 10  # bytes of heap that batches may leave behind, all together
_SHOWN = 12  # lines of a transcript before the first that differs
_SOME = 6  # batches, of which the one counts that has left the least behind

_expanded: list[Expanded] = []  # one for all classes
_users: list["FastRunner"] = []


class FastRunner:
    """Batches of one class."""

    def __init__(self, name: str, per_input: int):
        """`per_input`: bytes that an input takes, or somewhat more."""
        self._name = name
        self._per_input = per_input
        self._source = Source()
        if not _users:
            _expanded.append(Expanded())
        _users.append(self)
        self._expanded = _expanded[0]
        self._heap: list[int] = []  # in use after each batch

    def run(self, seed: int, count: int, measure: bool) -> Outcome:
        """A batch: its bytes follow from the seed."""
        data = random.Random(seed).randbytes(self._per_input * count)
        return self._run(data, seed, count, measure)

    def repeat(self, case: Case) -> Outcome:
        """The batch of a case: its bytes are in the file."""
        return self._run(base64.b64decode(case.input["data"]), case.seed, case.count, False)

    def close(self) -> None:
        """End MicroPython, if this was the last class that used it."""
        if self in _users:
            _users.remove(self)
            if not _users:
                _expanded.pop().close()

    def _run(self, data: bytes, seed: int, count: int, measure: bool) -> Outcome:
        covered: Lines = {}
        inputs = 0
        try:
            self._expanded.begin(self._name, data, count)
            if measure:
                with _Measured(covered):
                    ours = self._source.run(self._name, data, count)
            else:
                ours = self._source.run(self._name, data, count)
            theirs = self._expanded.end()
            inputs = ours[0]
            wrong = _judge(ours, theirs) or self._grown(theirs[3])
        except (TooLong, EOFError) as error:
            self._expanded.close(forget=False)
            wrong = str(error), ""
        failure = None
        if wrong is not None:
            kept = {"data": base64.b64encode(data).decode()}
            failure = Case("fast", self._name, seed, count, *wrong, kept)
        return Outcome(inputs, failure, covered)

    def _grown(self, heap: int) -> tuple[str, str] | None:
        """What is wrong if batches leave ever more behind."""
        self._heap.append(heap)
        floor = min(self._heap[-_SOME:]) - min(self._heap[:_SOME])
        if len(self._heap) < 2 * _SOME or floor < GROWTH:
            return None
        return "the heap grows from batch to batch", f"bytes in use: {self._heap[-20:]}"


def _judge(ours: Answer, theirs: Answer) -> tuple[str, str] | None:
    """What is wrong with what the sources and the expanded modules came to: a sentence, more."""
    for engine, failure in (("the sources", ours[2]), ("the expanded modules", theirs[2])):
        if failure is not None:
            last = failure.strip().splitlines()[-1]
            lines = ours[1].decode().splitlines()[-_SHOWN:]
            return f"{engine}: {last}", "\n".join([*lines, failure])
    if ours[1] == theirs[1]:
        return None
    a, b = ours[1].decode().splitlines(), theirs[1].decode().splitlines()
    at = next((i for i, (x, y) in enumerate(zip(a, b, strict=False)) if x != y), -1)
    if at < 0:
        at = min(len(a), len(b))
    text = [*a[max(0, at - _SHOWN) : at], f"sources:  {a[at : at + 1]}"]
    return "the engines do not agree", "\n".join([*text, f"expanded: {b[at : at + 1]}"])


class _Measured:
    """Adds the lines of the sources that run meanwhile to `covered`."""

    def __init__(self, covered: Lines):
        self._covered = covered
        names = [str(vsock_bench.MODULES / path) for path in SUBJECTS]
        self._coverage = coverage.Coverage(data_file=None, config_file=False, include=names)

    def __enter__(self) -> None:
        self._coverage.start()

    def __exit__(self, *exception: object) -> None:
        self._coverage.stop()
        data = self._coverage.get_data()
        for path in SUBJECTS:
            lines = data.lines(str(vsock_bench.MODULES / path))
            if lines:
                self._covered[path] = set(lines)


assert paths.IN_TREE

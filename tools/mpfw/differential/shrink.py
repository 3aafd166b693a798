# SPDX-License-Identifier: MIT
"""The shortest sequence that still differs: calls are left out, then arguments made simpler.

Candidates of a round are tried in one batch, since a batch costs little more than one sequence.
"""

from collections.abc import Callable, Iterator
from dataclasses import replace

from mpfw.differential.generate import Op, Program

Test = Callable[[list[Program]], list[bool]]  # which of them still differ


def shrink(program: Program, differ: Test) -> Program:
    """A sequence that differs and of which no single call or argument can be made less."""
    while True:
        candidates = list(_shorter(program)) + list(_simpler(program))
        smaller = _first(candidates, differ)
        if smaller is None:
            return program
        program = smaller


def _first(candidates: list[Program], differ: Test) -> Program | None:
    """The first that differs, asked for in growing batches: the boldest come first."""
    at, size = 0, 8
    while at < len(candidates):
        batch = candidates[at : at + size]
        for candidate, does in zip(batch, differ(batch), strict=True):
            if does:
                return candidate
        at, size = at + size, 2 * size
    return None


def _shorter(program: Program) -> Iterator[Program]:
    """Without the second half, without quarters and so on, down to single calls."""
    size = len(program) // 2
    while size:
        for start in range(len(program) - size, -1, -size):
            yield program[:start] + program[start + size :]
        size //= 2


def _simpler(program: Program) -> Iterator[Program]:
    for place, op in enumerate(program):
        for less in _less(op):
            yield (*program[:place], less, *program[place + 1 :])


def _less(op: Op) -> Iterator[Op]:
    """The call with one argument fewer or smaller."""
    if len(op.arguments) > 1 and op.call in ("send", "recv"):
        yield replace(op, arguments=op.arguments[:-1])
    number = op.argument
    if number is None or op.call in ("connect", "connect_ex", "bind", "accept"):
        return
    for less in sorted({0, 1, number // 2} - {number}):
        if less < number:
            yield replace(op, arguments=(str(less), *op.arguments[1:]))

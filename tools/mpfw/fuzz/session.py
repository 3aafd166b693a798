# SPDX-License-Identifier: MIT
"""Runs batches in processes of their own until all are done, time is over, or one failed."""

import multiprocessing
import signal
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ProcessPoolExecutor, wait
from dataclasses import dataclass, field
from multiprocessing.util import Finalize

from mpfw.fuzz.cases import Case
from mpfw.fuzz.classes import FuzzClass, Lines, Outcome, Runner
from mpfw.fuzz.plan import Batch

_AHEAD = 2  # batches that wait for each process


@dataclass
class Total:
    """What a class has come to so far."""

    inputs: int = 0
    seconds: float = 0.0  # of its runners
    covered: Lines = field(default_factory=dict)

    def add(self, outcome: Outcome, seconds: float) -> None:
        """Count a batch."""
        self.inputs += outcome.inputs
        self.seconds += seconds
        for path, lines in outcome.covered.items():
            self.covered.setdefault(path, set()).update(lines)


@dataclass
class Result:
    """What a run came to: a Total for each class, and the first failure."""

    totals: dict[str, Total]
    failure: Case | None = None

    def covered(self) -> Lines:
        """The lines that all classes together have reached."""
        found: Lines = {}
        for total in self.totals.values():
            for path, lines in total.covered.items():
                found.setdefault(path, set()).update(lines)
        return found


def run(
    classes: Sequence[FuzzClass],
    batches: Iterable[Batch],
    jobs: int,
    until: float | None = None,
    told: Callable[[Result], object] = lambda result: None,
) -> Result:
    """Run the batches, `jobs` at a time; none is begun after `until` (time.monotonic).

    `told` hears of every batch that is over.
    """
    if not all(each.parallel for each in classes):
        jobs = 1
    result = Result({each.name: Total() for each in classes})
    for batch, outcome, seconds in _outcomes(batches, jobs, until):
        result.totals[batch.kind.name].add(outcome, seconds)
        told(result)
        if outcome.failure is not None:
            result.failure = outcome.failure
            break
    return result


def _outcomes(
    batches: Iterable[Batch], jobs: int, until: float | None
) -> Iterator[tuple[Batch, Outcome, float]]:
    """Batches that are over, with the seconds that each took."""
    waiting = iter(batches)
    running: dict[Future[tuple[Outcome, float]], Batch] = {}
    # Not forked: this process may have threads, such as the progress bar's.
    context = multiprocessing.get_context("spawn")
    with ProcessPoolExecutor(jobs, context, initializer=_begin) as pool:
        try:
            while True:
                while len(running) < jobs * _AHEAD and not _over(until):
                    batch = next(waiting, None)
                    if batch is None:
                        break
                    running[pool.submit(_work, batch)] = batch
                if not running:
                    return
                for future in wait(running, return_when=FIRST_COMPLETED).done:
                    yield (running.pop(future), *future.result())
        finally:
            for future in running:
                future.cancel()


def _over(until: float | None) -> bool:
    return until is not None and time.monotonic() >= until


# -- in a process of its own

_runners: dict[tuple[str, str], Runner] = {}


def _begin() -> None:
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # the parent hears of it, too
    Finalize(None, _end, exitpriority=10)


def _end() -> None:
    for runner in _runners.values():
        runner.close()


def _work(batch: Batch) -> tuple[Outcome, float]:
    kind = batch.kind
    key = kind.level, kind.name
    if key not in _runners:
        _runners[key] = kind.open()
    start = time.monotonic()
    outcome = _runners[key].run(batch.seed, batch.count, batch.measure)
    return outcome, time.monotonic() - start

# SPDX-License-Identifier: MIT
"""The unit tests in child processes, with the sources and nothing expanded.

This process has pytest and what tests need imported, but none of the modules under test; each
child begins from there and so costs no start. `survey` finds out which tests reach which line,
`Trial` runs those that reach a mutant's until one of them fails.
"""

import contextlib
import multiprocessing
import multiprocessing.connection
import os
import pickle
import re
import resource
import shutil
import signal
import sys
import tempfile
import time
from collections.abc import Collection, Iterator
from dataclasses import dataclass, field
from pathlib import Path

import coverage
import hypothesis.stateful  # noqa: F401 (so that the children have it)
import pytest

from mpfw import paths
from mpfw.mutate.mutants import Mutant

UNIT = paths.ROOT / "tests/unit"
MODULES = paths.ROOT / "mpy_modules"
# What tests that import the firmware's modules have in them.
_CONCERNED = re.compile(r"\bvsock_bench\b|\bengine\b")
_NO_CONFTEST = "ImportError while loading conftest"  # pytest's words
_TIMEOUT = "Failed: Timeout"  # pytest-timeout's
# How long a test may take: so many seconds, and so many times what it took without a mutant. They
# are the processor's, or a busy machine would notice mutants; who waits without it has longer.
_FREE, _TIMES = 5.0, 4.0
_WAITING = 100
_ENDLESS = (-signal.SIGPROF, -signal.SIGXCPU)
_MEMORY = 4 << 30  # bytes that a child may use: some mutants never stop
_CHILDREN = multiprocessing.get_context("fork")


class SurveyError(Exception):
    """The tests fail without any mutant."""


@dataclass
class Survey:
    """What the tests do with the modules as they are."""

    seconds: dict[str, float] = field(default_factory=dict)  # by test, of the processor
    reached: dict[str, dict[int, list[str]]] = field(default_factory=dict)  # path, line: tests

    def tests(self, mutant: Mutant) -> dict[str, float]:
        """The tests that reach a mutant and the seconds that they take, quick ones first."""
        lines = self.reached.get(mutant.path, {})
        found = {test for line in mutant.lines for test in lines.get(line, ())}
        # When the module is imported, be it by the first test that needs it: whoever uses it.
        if "" in found or mutant.early:
            found = self._all(mutant.path)
        if not found:  # it has constants alone
            found = set().union(*map(self._all, users(mutant.path)))
        order = sorted(found, key=lambda test: (self.seconds[test], test))
        return {test: self.seconds[test] for test in order}

    def _all(self, path: str) -> set[str]:
        """The tests that reach any line of a module."""
        return {test for each in self.reached.get(path, {}).values() for test in each} - {""}


def users(path: str) -> list[str]:
    """The modules of its package that import a module."""
    stem = Path(path).stem
    wanted = re.compile(rf"^\s*from (\. import \(?.*\b{stem}\b|\.{stem} import)", re.M)
    beside = sorted((MODULES / path).parent.glob("*.py"))
    return [str(each.relative_to(MODULES)) for each in beside if wanted.search(each.read_text())]


def test_files() -> list[str]:
    """The test files that concern the firmware's modules."""
    files = sorted(UNIT.glob("test_*.py"))
    return [str(each) for each in files if _CONCERNED.search(each.read_text(encoding="utf-8"))]


def survey(modules: Collection[Path]) -> Survey:
    """Run all tests once, and see which reach which line. Raises SurveyError if one fails."""
    with _folder() as folder:
        result = folder / "survey"
        child = _CHILDREN.Process(
            target=_survey, args=(list(modules), folder, result), daemon=True
        )
        child.start()
        child.join()
        if child.exitcode:
            raise SurveyError((folder / "log").read_text(errors="replace")[-4000:])
        found: Survey = pickle.loads(result.read_bytes())
        return found


def _survey(modules: list[Path], folder: Path, result: Path) -> None:
    """A child: the survey."""
    names = [str(each) for each in modules]
    measured = coverage.Coverage(data_file=None, config_file=False, include=names)
    measured.set_option("run:core", "ctrace")  # the only one that knows contexts
    watch = _Watch(measured)
    measured.start()
    status = _pytest(folder, ["--timeout=0", *test_files()], watch)
    measured.stop()
    data = measured.get_data()
    found = Survey(watch.seconds)
    for path in modules:
        found.reached[str(path.relative_to(MODULES))] = data.contexts_by_lineno(str(path))
    result.write_bytes(pickle.dumps(found))
    sys.exit(status)


class _SourcesOnly:
    """A pytest plugin: the expanded modules are not the sources, and know no mutant."""

    def pytest_collection_modifyitems(self, items: list[pytest.Item]) -> None:
        items[:] = [each for each in items if not _expanded(each)]


def _expanded(item: pytest.Item) -> bool:
    chosen = getattr(item, "callspec", None)
    return "expanded" in getattr(item, "fixturenames", ()) or (
        chosen is not None and chosen.params.get("engine") == "expanded"
    )


class _Watch:
    """A pytest plugin: how long tests take, and in coverage's data, which of them it was."""

    def __init__(self, measured: coverage.Coverage):
        self.seconds: dict[str, float] = {}
        self._measured = measured

    @pytest.hookimpl(wrapper=True)
    def pytest_runtest_protocol(self, item: pytest.Item) -> Iterator[None]:
        start = time.process_time()
        self._measured.switch_context(item.nodeid)
        try:
            return (yield)
        finally:
            self._measured.switch_context("")
            self.seconds[item.nodeid] = time.process_time() - start


class _Order:
    """A pytest plugin: these tests, in this order."""

    def __init__(self, tests: dict[str, float]):
        self._limits = {test: _FREE + _TIMES * seconds for test, seconds in tests.items()}
        self._place = {test: place for place, test in enumerate(tests)}

    def pytest_collection_modifyitems(self, items: list[pytest.Item]) -> None:
        items[:] = [each for each in items if each.nodeid in self._place]
        items.sort(key=lambda each: self._place[each.nodeid])
        for each in items:
            each.add_marker(pytest.mark.timeout(_WAITING * self._limits[each.nodeid]))

    @pytest.hookimpl(wrapper=True)
    def pytest_runtest_protocol(self, item: pytest.Item) -> Iterator[None]:
        signal.setitimer(signal.ITIMER_PROF, self._limits[item.nodeid])  # the end of the child
        try:
            return (yield)
        finally:
            signal.setitimer(signal.ITIMER_PROF, 0)


class Trial:
    """A mutant among its tests, in a child."""

    def __init__(self, mutant: Mutant, source: str, tests: dict[str, float]):
        """`tests`: in that order, and the seconds that each takes without it."""
        self.mutant = mutant
        self.endless = False  # if it did not survive: a test did not end, or none failed in time
        limit = _FREE + _TIMES * sum(tests.values())  # then it counts as noticed: it never ends
        self._stack = contextlib.ExitStack()
        self._folder = self._stack.enter_context(_folder())
        modules = self._folder / "modules"
        # With what is compiled, but not of this one: its new text may be as long and as old.
        compiled = f"{Path(mutant.path).stem}.cpython*"
        shutil.copytree(MODULES, modules, ignore=shutil.ignore_patterns(compiled))
        (modules / mutant.path).write_text(mutant.applied(source), encoding="utf-8")
        arguments = (self._folder, modules, tests, limit)
        self._child = _CHILDREN.Process(target=_try, args=arguments, daemon=True)
        self._child.start()
        self._give_up = time.monotonic() + _WAITING * limit

    @property
    def sentinel(self) -> int:
        """What to wait for."""
        return self._child.sentinel

    @property
    def left(self) -> float:
        """Seconds that it has."""
        return max(0.0, self._give_up - time.monotonic())

    def over(self) -> bool:
        """Whether it ended, or will not."""
        return self._child.exitcode is not None or not self.left

    def survived(self) -> bool:
        """Whether no test noticed it; to be asked once, when it is over."""
        status = self._child.exitcode
        if status is None:
            self._child.kill()
        self._child.join()
        log = (self._folder / "log").read_text(errors="replace")
        self.endless = status is None or status in _ENDLESS or _TIMEOUT in log
        self._stack.close()
        if status == pytest.ExitCode.USAGE_ERROR and _NO_CONFTEST in log:
            return False  # the module cannot even be imported
        if status in (pytest.ExitCode.USAGE_ERROR, pytest.ExitCode.NO_TESTS_COLLECTED):
            raise SurveyError(log[-4000:])
        return status == 0


def _try(folder: Path, modules: Path, tests: dict[str, float], limit: float) -> None:
    """A child: the tests, with a changed module."""
    resource.setrlimit(resource.RLIMIT_AS, (_MEMORY, _MEMORY))
    seconds = int(limit) + 1  # of the processor: the end even if nobody waits for it any more
    resource.setrlimit(resource.RLIMIT_CPU, (seconds, seconds))
    sys.dont_write_bytecode = True
    os.environ["UNIT_MODULES"] = str(modules)
    files = sorted({str(paths.ROOT / test.partition("::")[0]) for test in tests})
    sys.exit(_pytest(folder, ["-x", *files], _Order(tests)))


def _pytest(folder: Path, arguments: list[str], plugin: object) -> int:
    """pytest in this process, what it says in a file; its status."""
    log = os.open(folder / "log", os.O_WRONLY | os.O_CREAT)
    for stream in (sys.stdout, sys.stderr):
        stream.flush()
        os.dup2(log, stream.fileno())
    os.environ["HYPOTHESIS_PROFILE"] = "mutants"
    options = ["-q", "--tb=short", "--assert=plain", "--confcutdir", str(UNIT)]
    options += ["-pno:cacheprovider", "-pno:rerunfailures", "-pno:xdist", "-pno:pytest_cov"]
    where = ["--rootdir", str(paths.ROOT), "-c", str(paths.ROOT / "pyproject.toml")]
    return int(pytest.main([*options, *where, *arguments], [_SourcesOnly(), plugin]))


@contextlib.contextmanager
def _folder() -> Iterator[Path]:
    with tempfile.TemporaryDirectory(prefix="mpfw-mutate-") as name:
        yield Path(name)


def wait(trials: list[Trial]) -> None:
    """Return when one of them may be over."""
    ready = [each.sentinel for each in trials]
    multiprocessing.connection.wait(ready, min(each.left for each in trials))

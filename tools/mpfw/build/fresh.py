# SPDX-License-Identifier: MIT
"""The README's promise, tried: its two commands in a fresh root of a Debian release.

What is tried is a clean clone of HEAD, on what the README asks for and no more. Each command gets
a root of its own, so that neither lives on what the other installed.
"""

import fcntl
import shutil
import signal
import subprocess
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import click

from mpfw import paths
from mpfw.build import debian, debroot
from mpfw.usage import examples

SUITES = ("bookworm", "trixie", "sid")
COMMANDS = ("run", "test")
PLACE = "/srv/firmware"  # where the clone lies in the root


@click.command(
    epilog=examples(
        "mpfw fresh bookworm              `make run` and `make test` there",
        "mpfw fresh sid --only run        one of them",
    )
)
@click.argument("suite", type=click.Choice(SUITES))
@click.option(
    "--only", type=click.Choice(COMMANDS), multiple=True, help="One of the two; both are tried."
)
@click.option("--tests", envvar="TESTS", default="", help="Which tests, as for make test.")
@click.option("--pytest-args", envvar="PYTEST_ARGS", default="", help="As for make test.")
def fresh(suite: str, only: tuple[str, ...], tests: str, pytest_args: str) -> None:
    """Try `make run` and `make test` in a fresh root of a Debian release.

    Roots and logs lie under build/fresh; a root stays there if its command failed.
    """
    settings = [f"TESTS={tests}"] if tests else []
    settings += [f"PYTEST_ARGS={pytest_args}"] if pytest_args else []
    commands = {name: ["make", name] for name in only or COMMANDS}
    if "test" in commands:
        commands["test"] += settings
    directory = paths.BUILD / "fresh" / suite
    try:
        debroot.require()
        with _ended_by_signals(), _claimed(directory):
            failed = attempt(suite, directory, commands)
    except (debroot.RootError, debian.AptError) as error:
        raise click.ClickException(str(error)) from error
    raise SystemExit(bool(failed))


@dataclass(frozen=True)
class Start:
    """What each root is made of."""

    tar: Path  # the release
    clone: Path  # of HEAD as it was when the trial began
    given: debroot.Inputs


def attempt(suite: str, directory: Path, commands: dict[str, list[str]]) -> list[str]:
    """Run each of `commands` in a fresh root of `suite`; the names of those that failed.

    `directory` takes the roots and `<name>.log` of each; a root is removed unless its command
    failed. Raises debroot.RootError, debian.AptError.
    """
    start = Start(directory / "root.tar", directory / "clone", debroot.inputs())
    try:
        _git("clone", "--quiet", "--no-hardlinks", str(paths.ROOT), str(start.clone))
        _say_what_is_tested(suite, start.clone)
        with _log(directory / "root.log", f"{suite} root") as say:
            debroot.make(suite, start.tar, say)
        return [
            name
            for name, command in commands.items()
            if not _passes(suite, directory / name, start, command)
        ]
    finally:
        start.tar.unlink(missing_ok=True)
        shutil.rmtree(start.clone, ignore_errors=True)


def _passes(suite: str, root: Path, start: Start, command: list[str]) -> bool:
    started = time.monotonic()
    try:
        debroot.unpack(start.tar, root)
        shutil.copytree(start.clone, f"{root}{PLACE}", symlinks=True)
        with _log(root.with_suffix(".log"), f"{suite} {root.name}") as say:
            status = debroot.enter(root, PLACE, command, start.given, say)
    except BaseException:  # a signal's, too
        shutil.rmtree(root, ignore_errors=True)
        raise
    minutes, seconds = divmod(round(time.monotonic() - started), 60)
    tried = f"fresh: {suite}: {' '.join(command)}"
    if status == 0:
        shutil.rmtree(root)
        click.echo(f"{tried} passed in {minutes} min {seconds} s")
        return True
    click.echo(f"{tried} failed with status {status} after {minutes} min {seconds} s")
    click.echo(f"fresh: its output: {root}.log; its root: {root}")
    return False


def _say_what_is_tested(suite: str, clone: Path) -> None:
    head = _git("-C", str(clone), "log", "-1", "--format=%h %s").strip()
    click.echo(f"fresh: {suite}: a clone of HEAD, {head}")
    if _git("status", "--porcelain"):
        click.echo("fresh: what is not committed is not in it.")


def _git(*arguments: str) -> str:
    command = ["git", "-C", str(paths.ROOT), *arguments]
    result = subprocess.run(command, capture_output=True, text=True, check=False)
    if result.returncode != 0:
        reason = result.stderr.strip().splitlines()[-1:]
        raise debroot.RootError(f"git {' '.join(arguments)} failed: {' '.join(reason)}")
    return result.stdout


@contextmanager
def _log(path: Path, title: str) -> Iterator[Callable[[str], None]]:
    """A function that writes a line to a log, and to our output with the time since the start."""
    started = time.monotonic()

    with open(path, "w", buffering=1) as log:

        def say(line: str) -> None:
            log.write(f"{line}\n")
            minutes, seconds = divmod(int(time.monotonic() - started), 60)
            click.echo(f"{title} {minutes:2}:{seconds:02}  {line}")

        yield say


@contextmanager
def _claimed(directory: Path) -> Iterator[None]:
    """An empty directory for one trial at a time."""
    directory.mkdir(parents=True, exist_ok=True)
    with open(directory.with_suffix(".lock"), "w") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            message = f"another trial uses {directory}: wait for its end, or end it."
            raise debroot.RootError(message) from None
        shutil.rmtree(directory)
        directory.mkdir()
        yield


@contextmanager
def _ended_by_signals() -> Iterator[None]:
    """Ctrl-C, SIGTERM and a closed terminal end us as an exception does, and only once."""
    numbers = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)

    def end(number: int, frame: object) -> None:
        for each in numbers:
            signal.signal(each, signal.SIG_IGN)
        click.echo("fresh: ended by a signal; removing what it made", err=True)
        raise SystemExit(128 + number)

    previous = {number: signal.signal(number, end) for number in numbers}
    try:
        yield
    finally:
        for number, handler in previous.items():
            signal.signal(number, handler)

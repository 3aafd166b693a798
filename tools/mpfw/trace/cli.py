# SPDX-License-Identifier: MIT
"""The command `mpfw trace`."""

import sys
from collections.abc import Iterator
from itertools import chain
from pathlib import Path

import click

from mpfw.capture.reader import Record, read
from mpfw.capture.sinks import STDOUT, CaptureError
from mpfw.trace.conversation import Conversation
from mpfw.trace.ladder import Ladder
from mpfw.trace.picture import svg
from mpfw.trace.tracer import OPS, Filters, Tracer
from mpfw.usage import examples

_MOST = 1000  # steps of a conversation that a picture shows


@click.command(
    epilog=examples(
        "mpfw run --capture a.pcapng app.py && mpfw trace --svg a.svg a.pcapng   all that passed",
    )
)
@click.option("--port", "ports", type=click.IntRange(0, 0xFFFFFFFF), multiple=True)
@click.option("--cid", "cids", type=click.IntRange(0), multiple=True, help="Of either end.")
@click.option("--op", "ops", type=click.Choice(list(OPS), case_sensitive=False), multiple=True)
@click.option("--wrong", is_flag=True, help="Only what breaks the standard; status 1 if it does.")
@click.option(
    "--svg", "picture", type=click.Path(path_type=Path, dir_okay=False), help="Draw it, too."
)
@click.argument("files", nargs=-1, required=True, metavar="FILE|-...")
def trace(
    files: tuple[str, ...],
    ports: tuple[int, ...],
    cids: tuple[int, ...],
    ops: tuple[str, ...],
    wrong: bool,
    picture: Path | None,
) -> None:
    """Tell the conversations in captures of vsock, or, with "-", in one that comes on standard
    input: time, states of both ends, packets, credit. What breaks the standard is marked.

    Several files are one capture in parts.
    """
    filters = Filters(frozenset(ports), frozenset(cids), frozenset(ops), wrong)
    tracer = Tracer()
    drawn: dict[int, Conversation] = {}
    try:
        _tell(tracer, files, filters, drawn if picture else None)
    except KeyboardInterrupt:
        pass  # the end of what comes live
    except BrokenPipeError:
        sys.stdout = None
    except CaptureError as error:
        raise click.ClickException(str(error)) from None
    if picture is not None:
        _draw(picture, drawn)
    sys.exit(1 if wrong and tracer.wrong else 0)


def _tell(
    tracer: Tracer,
    files: tuple[str, ...],
    filters: Filters,
    drawn: dict[int, Conversation] | None,
) -> None:
    ladder = Ladder()
    records = chain.from_iterable(_records(name) for name in files)
    for conversation, step in tracer.steps(records):
        if conversation is None:
            ladder.show(None, step)
        elif filters.wants(conversation, step):
            ladder.show(conversation, step)
            if drawn is not None and len(conversation.steps) < _MOST:
                drawn[conversation.number] = conversation
                conversation.steps.append(step)


def _records(name: str) -> Iterator[Record]:
    """The packets in a file. Raises CaptureError."""
    try:
        if name == STDOUT:
            yield from read(sys.stdin.buffer)
            return
        with open(name, "rb") as file:
            yield from read(file)
    except OSError as error:
        raise CaptureError(f"{name}: {error.strerror}") from None
    except CaptureError as error:
        raise CaptureError(f"{name}: {error}") from None


def _draw(picture: Path, drawn: dict[int, Conversation]) -> None:
    try:
        picture.write_text(svg(drawn.values()))
    except OSError as error:
        raise click.ClickException(f"{picture}: {error.strerror}") from None

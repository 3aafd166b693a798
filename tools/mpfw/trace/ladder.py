# SPDX-License-Identifier: MIT
"""A trace as text: a line for each packet, an arrow between the two ends."""

import sys

import click

from mpfw.trace.conversation import Conversation, Step

_WIDTH = 24  # of an arrow
_NAME = 16
_STATE = 13
_DRAWN = {"line": "─", "right": "▶", "left": "◀", "wrong": "✗"}
_TYPED = {"line": "-", "right": ">", "left": "<", "wrong": "!"}


class Ladder:
    """Prints steps as they come."""

    def __init__(self) -> None:
        self._shown = 0  # the last conversation
        self._titles: set[int] = set()
        self._signs = _DRAWN if _can_draw() else _TYPED

    def show(self, conversation: Conversation | None, step: Step) -> None:
        """A packet, after the conversation's name if it is another than the one before."""
        if conversation is None:
            self._line(f"{step.seconds:11.6f} s  {step.wrong[0]}", [])
            return
        if step.number != self._shown:
            self._shown = step.number
            again = " goes on" if step.number in self._titles else ""
            self._titles.add(step.number)
            click.echo(f"#{step.number}  {conversation.title}{again}")
        if step.lost:
            click.echo(f"{'':13}{step.lost} packets are missing here")
        left, right = conversation.ends
        states = step.states
        text = (
            f"{step.seconds:11.6f} s  {left.name:>{_NAME}} {states[0]:<{_STATE}} "
            f"{self._arrow(step)}  {right.name} {states[1]:<{_STATE}} {step.credit}"
        )
        self._line(text.rstrip(), step.wrong)

    def _line(self, text: str, wrong: list[str]) -> None:
        click.echo(text)
        for each in wrong:
            click.secho(f"{'':13}{self._signs['wrong']} {each}", fg="red")
        sys.stdout.flush()

    def _arrow(self, step: Step) -> str:
        line = self._signs["line"]
        text = f" {step.op}{f' {step.length:,}' if step.length else ''} "
        if step.sender:
            return self._signs["left"] + text.rjust(_WIDTH - 3, line) + 2 * line
        return 2 * line + text.ljust(_WIDTH - 3, line) + self._signs["right"]


def _can_draw() -> bool:
    """Whether the output has the signs."""
    try:
        "".join(_DRAWN.values()).encode(sys.stdout.encoding or "ascii")
    except (LookupError, UnicodeEncodeError):
        return False
    return True

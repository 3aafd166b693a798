# SPDX-License-Identifier: MIT
"""A trace as a picture (SVG): a ladder for each conversation, one below the other."""

from collections.abc import Iterable
from xml.sax.saxutils import escape

from mpfw.trace.conversation import Conversation, Step

_WIDTH = 900
_LEFT, _RIGHT = 250, 560  # where the two ends' lines are
_STEP = 26  # from an arrow to the next
_HEAD = 64  # above the first
_GAP = 30  # between two conversations
_STYLE = """\
text { font: 13px sans-serif; fill: #222 }
.title { font-weight: bold; font-size: 15px }
.small { font-size: 11px; fill: #666 }
.wrong { fill: #b00020; font-weight: bold }
.life { stroke: #bbb; stroke-width: 2 }
.arrow { stroke: #1f5fa8; stroke-width: 1.5; marker-end: url(#tip) }
.bad { stroke: #b00020 }
#tip path { fill: context-stroke }"""
_TIP = (
    '<marker id="tip" viewBox="0 0 8 8" refX="8" refY="4" markerWidth="8" markerHeight="8" '
    'orient="auto-start-reverse"><path d="M0 0 8 4 0 8z"/></marker>'
)


def svg(conversations: Iterable[Conversation]) -> str:
    """The picture of the conversations' `steps`."""
    parts: list[str] = []
    at = 20
    for each in conversations:
        at = _ladder(parts, each, at) + _GAP
    return "\n".join(
        [
            f'<svg xmlns="http://www.w3.org/2000/svg" width="{_WIDTH}" height="{at}" '
            f'viewBox="0 0 {_WIDTH} {at}">',
            f"<style>{_STYLE}</style>",
            f"<defs>{_TIP}</defs>",
            f'<rect width="{_WIDTH}" height="{at}" fill="white"/>',
            *parts,
            "</svg>\n",
        ]
    )


def _ladder(parts: list[str], conversation: Conversation, top: int) -> int:
    """One conversation from `top` on; where it ends."""
    steps = conversation.steps
    left, right = conversation.ends
    bottom = top + _HEAD + sum(map(_height, steps))
    title = f"{conversation.number}. {conversation.title}"
    parts.append(_text(20, top + 14, title, "title", "start"))
    parts.append(_text(_LEFT, top + 40, left.name))
    parts.append(_text(_RIGHT, top + 40, right.name))
    for x in (_LEFT, _RIGHT):
        parts.append(f'<path class="life" d="M{x} {top + 46}V{bottom}"/>')
    at = top + _HEAD
    said = ("", "")
    for step in steps:
        _arrow(parts, step, at, said)
        said = step.states
        at += _height(step)
    return bottom


def _height(step: Step) -> int:
    return _STEP + 16 * len(step.wrong)


def _arrow(parts: list[str], step: Step, at: int, said: tuple[str, str]) -> None:
    start, end = (_RIGHT, _LEFT) if step.sender else (_LEFT, _RIGHT)
    bad = " bad" if step.wrong else ""
    parts.append(f'<path class="arrow{bad}" d="M{start} {at}H{end}"/>')
    length = f" {step.length:,}" if step.length else ""
    parts.append(_text((_LEFT + _RIGHT) // 2, at - 4, step.op + length))
    parts.append(_text(20, at + 4, f"{step.seconds:.6f}", "small", "start"))
    if step.states[0] != said[0]:
        parts.append(_text(_LEFT - 10, at + 4, step.states[0], "small", "end"))
    beside = [step.states[1]] if step.states[1] != said[1] else []
    beside += [step.credit] if step.credit else []
    parts.append(_text(_RIGHT + 10, at + 4, "; ".join(beside), "small", "start"))
    for i, each in enumerate(step.wrong, 1):
        parts.append(_text((_LEFT + _RIGHT) // 2, at + 16 * i - 2, each, "wrong"))


def _text(x: int, y: int, text: str, kind: str = "", anchor: str = "middle") -> str:
    kind = f' class="{kind}"' if kind else ""
    return f'<text x="{x}" y="{y}" text-anchor="{anchor}"{kind}>{escape(text)}</text>'

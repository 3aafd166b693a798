# SPDX-License-Identifier: MIT
"""Dialogues: what two or three sockets say to one another, written once, run in every setting.

A dialogue is a function of a file in tests/differential/dialogues. Its parameters are its sockets;
each call of one of their methods is a call that runs later, inside, and prints what came of it:

    def half_close(caller, accepted):
        caller.shutdown(SHUT_WR)
        accepted.recv(10)
        accepted.send(3)
        caller.recv(10)

`caller` and `accepted` are connected before it begins, by `listener`, which may be named, too;
`second` and `third`, which connects and is accepted as second's, make a connection more. One of
`one` (and `other`) has sockets that nothing was done with: it runs over the loopback and, if they
connect, in a guest with a host. One that names `kind` makes its sockets, or connections, by
itself, and is about who calls. Of another connection either end is the guest's once.
mpfw.differential.sequence says what the calls are and what they print.
"""

import inspect
import runpy
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from mpfw import paths
from mpfw.differential import generate, states
from mpfw.differential.generate import PRELUDE, Op, Program
from mpfw.differential.scenarios import HOST, HOST_CID, LOOPBACK, MEETING, Scenario
from mpfw.differential.table import Call, Where
from mpfw.guest.vsockhost import GUEST_CID

FOLDER = paths.ROOT / "tests" / "differential" / "dialogues"
PATIENCE = (0.3, 0.02)  # seconds: what a call waits, what is left for things to arrive
_NUMBERS = {"listener": 0, "caller": 1, "accepted": 2, "third": 3, "second": 4}
_ALONE = {"one": 1, "other": 4}
_KNOWN = {*_NUMBERS, *_ALONE, "kind"}
_CALLING = (1, 4)  # sockets of the calling side
_TYPES = {"stream": "socket.SOCK_STREAM", "seqpacket": "socket.SOCK_SEQPACKET"}


class Source(str):
    """An argument that stands in the script as it is."""

    def __or__(self, other: str) -> "Source":
        return Source(f"{self} | {other}")


class Names:
    """`SOCKET.MSG_PEEK` is the name as the script will have it."""

    def __getattr__(self, name: str) -> Source:
        return Source(f"socket.{name}")


SOCKET = Names()
ANY = Source("ANY")
PEER = Source("PEER")  # the CID at which this socket finds the other side
SELF = Source("1")


def of_types(*types: str) -> Callable[[Callable[..., None]], Callable[..., None]]:
    """A dialogue of these types of sockets, "stream" or "seqpacket"; without it: of streams."""

    def mark(function: Callable[..., None]) -> Callable[..., None]:
        function.types = types  # type: ignore[attr-defined]
        return function

    return mark


class End:
    """A socket of a dialogue: its methods note what is to be called."""

    def __init__(self, note: Callable[[int, str, tuple[Any, ...]], None], number: int):
        self._note = note
        self.number = number

    def __getattr__(self, call: str) -> Callable[..., None]:
        return lambda *arguments: self._note(self.number, call, arguments)


@dataclass(frozen=True)
class Dialogue(Scenario):
    """A sequence of calls in one setting, written by hand or generated."""

    program: Program = ()
    patience: tuple[float, ...] = ()

    @property
    def generated(self) -> bool:
        """Whether nobody has written it."""
        return not self.patience

    @classmethod
    def of(
        cls, name: str, setting: str, program: Program, patience: tuple[float, ...] = ()
    ) -> "Dialogue":
        """The dialogue of these calls; a generated one has the usual patience."""
        calls = [f"{op.side} {op}" for op in program]
        text = "\n".join([PRELUDE, MEETING, repr(patience), *calls])
        return cls(name, setting, text, program=program, patience=patience)

    def script(self, port: int) -> str:
        """What runs over the loopback."""
        return PRELUDE + generate.script(self.program, port, self.patience)

    def part(self, which: str, other: int, port: int) -> str:
        """The script of "guest" or "host"."""
        own = generate.part(self.program, which, other, port, self.patience)
        return f"{PRELUDE}\n{MEETING}\n{own}"

    def joined(self, parts: dict[str, str]) -> dict[str, str]:
        """What both parts printed, in the order of the calls."""
        if self.setting == LOOPBACK:
            return parts
        return {"both": generate.woven(self.program, parts["guest"], parts["host"])}

    def about(self, linux: str) -> Where:
        """Tells which call a line is of, and in which state its socket was."""
        scenario = "" if self.generated else self.name
        calls = [replace(call, scenario=scenario) for call in states.calls(self.program, linux)]
        return lambda index: calls[index] if index < len(calls) else Call("", "")


def load(folder: Path = FOLDER, wanted: str | None = None) -> list[Scenario]:
    """All dialogues of a folder in all their settings, or those of one setting."""
    found: list[Scenario] = []
    for path in sorted(folder.glob("*.py")):
        for name, function in runpy.run_path(str(path)).items():
            if inspect.isfunction(function) and _sockets(function) <= _KNOWN:
                found += settings_of(f"{path.stem}.{name}", function)
    return [each for each in found if wanted in (None, each.setting)]


def _sockets(function: Callable[..., None]) -> set[str]:
    return set(inspect.signature(function).parameters)


def settings_of(name: str, function: Callable[..., None]) -> Iterator[Dialogue]:
    """A dialogue over the loopback, called by the guest, called by the host, of its types."""
    caller_only = _sockets(function) & {"one", "kind"}  # whose calls they are about
    for kind in getattr(function, "types", ("stream",)):
        kinds = f"{name}.{kind}" if hasattr(function, "types") else name
        yield _dialogue(kinds, function, _TYPES[kind], "")
        guest = _dialogue(f"{kinds}.guest", function, _TYPES[kind], "guest")
        dials = any(op.call.startswith("connect") for op in guest.program)
        if dials or "one" not in _sockets(function):
            yield guest
        if not caller_only:
            yield _dialogue(f"{kinds}.host", function, _TYPES[kind], "host")


def _dialogue(name: str, function: Callable[..., None], kind: str, calls: str) -> Dialogue:
    """The dialogue of a function whose calling sockets are the guest's, the host's, or ""."""
    program = []
    parameters = list(inspect.signature(function).parameters)
    listens = {"guest": "host", "host": "guest"}.get(calls, "")

    def note(number: int, call: str, arguments: tuple[Any, ...]) -> None:
        side = calls if number in _CALLING else listens
        cid = {"guest": HOST_CID, "host": GUEST_CID}.get(side, 1)
        texts = [str(cid) if each is PEER else _text(each) for each in arguments]
        program.append(Op(number, call, tuple(texts), side))

    numbers = _ALONE if "one" in parameters else _NUMBERS
    ends = {each: End(note, number) for each, number in numbers.items()}
    given: dict[str, Any] = {**ends, "kind": Source(kind)}
    if "one" not in parameters:
        _connect(ends, kind, "kind" not in parameters, "second" in parameters)
    elif "kind" not in parameters:
        for each in parameters:
            ends[each].socket(Source(kind))
    function(*(given[each] for each in parameters))
    return Dialogue.of(name, HOST if calls else LOOPBACK, tuple(program), PATIENCE)


def _connect(ends: dict[str, End], kind: str, first: bool, second: bool) -> None:
    """Have a listener, and one or two connections made by it."""
    listener = ends["listener"]
    listener.socket(Source(kind))
    listener.bind(ANY, 0)
    listener.listen(2)
    for caller, accepted, wanted in (("caller", "accepted", first), ("second", "third", second)):
        if wanted:
            ends[caller].socket(Source(kind))
            ends[caller].connect(PEER, 0)
            listener.accept(ends[accepted].number)


def _text(argument: Any) -> str:
    if isinstance(argument, End):
        return str(argument.number)
    return argument if isinstance(argument, Source) else repr(argument)

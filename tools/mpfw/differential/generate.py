# SPDX-License-Identifier: MIT
"""Random sequences of socket calls on two to four sockets, each the same for the same seed.

Most begin with a connection over the loopback, many of these with data both ways; what follows is
any call on any of the sockets, with sizes around every limit. mpfw.differential.sequence is what
the scripts are written in; what a sequence has reached, mpfw.differential.states tells from what
Linux printed.
"""

import random
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from mpfw.differential import sequence
from mpfw.differential.scenarios import HOST_CID, LOOPBACK, PORTS
from mpfw.guest.vsockhost import GUEST_CID

PRELUDE = Path(sequence.__file__).read_text()
SMALL = (0, 1, 2, 100, 4095)
SIZES = (*SMALL, 4096, 4097, 65535, 65536, 65537, 131072, 262143, 262144, 262145, 300000)
_AIMED = 3  # every third sequence is about one call in one state, the next one each time
_CONNECTED = 0.85  # of the others begin with a connection
_TALKING = 0.7  # of those have data both ways at once
_ENDING = 0.4  # and of those with a connection, one end ends early
_DIALLING = 0.6  # of the others begin with a connect to nobody
_LENGTH = (3, 12)  # calls after the beginning
AIMS = (  # states that a socket can be in
    "fresh",
    "bound",
    "listening",
    "connecting",
    "failed",
    "connected",
    "shut",
    "peer ended",
    "closed",
)
_KINDS = ("socket.SOCK_STREAM", "socket.SOCK_SEQPACKET")
_STREAMS = 0.8  # of the sequences are about those
_FLAGS = ("0", "socket.MSG_PEEK", "socket.MSG_DONTWAIT", "socket.MSG_WAITALL", "socket.MSG_TRUNC")
_OPTIONS = (
    ("socket.SOL_SOCKET", ("SO_ERROR", "SO_TYPE", "SO_ACCEPTCONN", "SO_DOMAIN", "SO_PROTOCOL")),
    (
        "socket.AF_VSOCK",
        ("BUFFER_SIZE", "BUFFER_MIN_SIZE", "BUFFER_MAX_SIZE"),
    ),
)
_LOWAT = ("socket.SOL_SOCKET", "socket.SO_RCVLOWAT")
_TIMES = (
    ("socket.SOL_SOCKET", "socket.SO_RCVTIMEO"),
    ("socket.SOL_SOCKET", "socket.SO_SNDTIMEO"),
    ("socket.AF_VSOCK", "socket.SO_VM_SOCKETS_CONNECT_TIMEOUT"),
)


@dataclass(frozen=True)
class Op:
    """One call of socket `number`; `arguments` are source text, `side` is whose socket it is."""

    number: int
    call: str
    arguments: tuple[str, ...] = ()
    side: str = ""  # "guest" or "host"; "" over the loopback

    def __str__(self) -> str:
        return f"do({', '.join([str(self.number), repr(self.call), *self.arguments])})"

    @property
    def argument(self) -> int | None:
        """The first argument, if it is a number."""
        first = self.arguments[0] if self.arguments else ""
        return int(first) if first.lstrip("-").isdigit() else None


Program = tuple[Op, ...]


def script(program: Program, port: int, patience: tuple[float, ...] = ()) -> str:
    """The text of a sequence; PRELUDE goes before it and says what `patience` is."""
    begin = ", ".join(str(each) for each in (port, *patience))
    return "".join(f"{line}\n" for line in [f"begin({begin})", *program, "end()"])


def part(
    program: Program, side: str, other: int, port: int, patience: tuple[float, ...] = ()
) -> str:
    """The text of one side's part; PRELUDE and meeting.py go before it.

    The sides meet whenever it is the other's turn, and before either closes what is left.
    """
    begin = ", ".join(str(each) for each in (port + PORTS, *patience))
    lines = [f"def part(cid, port, meet):\n    begin({begin})"]
    turn = ""
    for op in program:
        if op.side != turn:
            lines.append("    meet()")
            turn = op.side
        if op.side == side:
            lines.append(f"    {op}")
    lines += ["    meet()\n    end()", f"take_part_in_{side}(part, {other}, {port})", ""]
    return "\n".join(lines)


def woven(program: Program, guest: str, host: str) -> str:
    """The output of both parts in the order of the calls, up to where one of them ended."""
    left = {"guest": guest.splitlines()[::-1], "host": host.splitlines()[::-1]}
    lines = []
    for place, op in enumerate(program, 1):
        if not left[op.side]:
            break
        _, _, rest = left[op.side].pop().partition(" ")
        lines.append(f"{place} {rest}\n")
    return "".join([*lines, *(f"{side} {line}\n" for side in left for line in left[side][::-1])])


class Generator:
    """Makes one sequence."""

    def __init__(self, seed: int, index: int):
        self._random = random.Random(f"{seed}:{index}")
        self._index = index
        chosen = self._random.random() < _STREAMS
        self._kind = _KINDS[0 if chosen else 1]
        self._sockets: list[int] = []
        self._chosen = 0  # the socket whose call is being made
        self._program: list[Op] = []
        self._choices: list[tuple[int, str, Callable[[], tuple[str, ...]]]] = [
            (6, "send", lambda: (self._size(), *self._flags(0.2))),
            (1, "sendall", lambda: (self._size(),)),
            (6, "recv", lambda: (self._size(), *self._flags(0.4))),
            (2, "recv_into", lambda: (self._size(),)),
            (4, "poll", lambda: (self._one("0x2005", "1", "4", "0", "0x20c7"),)),
            (2, "shutdown", lambda: (self._one("0", "1", "2", "2", "3"),)),
            (2, "close", tuple),
            (2, "getsockname", tuple),
            (2, "getpeername", tuple),
            (2, "getsockopt", self._option),
            (1, "setsockopt", lambda: (*self._option_set(), self._limit())),
            (2, "setsockopt", lambda: (*_LOWAT, self._one("0", "1", "2", "100", "4096", "-1"))),
            (
                1,
                "set_time",
                lambda: (*self._time(), self._one("0", "1", "-1"), self._one("0", "20000", "-1")),
            ),
            (1, "get_bytes", lambda: (*self._time(), self._one("8", "16", "20"))),
            (1, "sendto", lambda: (self._size(), *self._target())),
            (1, "sendmsg", lambda: (self._size(), self._size())),
            (1, "send_within", lambda: (self._size(),)),
            (1, "recvfrom", lambda: (self._size(), *self._flags(0.3))),
            (1, "recvmsg", lambda: (self._size(),)),
            (1, "recvmsg_into", lambda: (self._size(), self._size())),
            (1, "recv_within", lambda: (self._size(), *self._flags(0.3))),
            (1, "select", tuple),
            (1, "ioctl", lambda: (self._one("0x541B", "0x541B", "0x5401"),)),
            (1, "settimeout", lambda: (self._one("0", "0.02", "0.06"),)),
            (2, "connect", self._target),
            (1, "connect_ex", self._target),
            (2, "bind", lambda: (self._one("ANY", "ANY", "1", "2", "77"), self._port())),
            (2, "listen", lambda: (self._one("0", "1", "2", "-1"),)),
            (2, "accept", lambda: (str(self._new(self._chosen)),)),
            (1, "accept_within", lambda: (str(self._new(self._chosen)),)),
        ]

    @property
    def calls(self) -> list[str]:
        """The names of all calls that are made."""
        return sorted({call for _, call, _ in self._choices})

    def program(self) -> Program:
        """The sequence."""
        turn, other = divmod(self._index, _AIMED)
        if other == 0:
            turn, state = divmod(turn, len(AIMS))
            self._aim(AIMS[state], self.calls[turn % len(self.calls)])
        elif self._random.random() < _CONNECTED:
            self._connection(_ENDING)
        else:
            for number in range(self._random.randint(2, 3)):
                self._make(number)
            if self._random.random() < _DIALLING:
                self._dial(0)
        for _ in range(self._random.randint(*_LENGTH)):
            self._any()
        return tuple(self._program)

    def _aim(self, state: str, call: str) -> None:
        """One call of a socket in one state."""
        number = 0
        if state in ("connected", "shut", "peer ended"):
            self._connection(0)
            number = self._random.choice((1, 2))
            if state == "shut":
                self._op(number, "shutdown", self._one("0", "1", "2"))
            elif state == "peer ended":
                self._op(3 - number, *self._ending())
        else:
            self._make(0)
            self._make(1)
            if state in ("bound", "listening"):
                self._op(0, "bind", "ANY", "0")
            if state == "listening":
                self._op(0, "listen", "1")
            elif state == "connecting":
                self._op(0, "settimeout", "0")
            if state in ("connecting", "failed"):
                self._op(0, "connect", self._peer(0), "2")
            elif state == "closed":
                self._op(0, "close")
        self._chosen = number
        for _, name, arguments in self._choices:
            if name == call:
                self._op(number, call, *arguments())
                break

    def _one(self, *choices: str) -> str:
        return self._random.choice(choices)

    def _op(self, number: int, call: str, *arguments: str) -> None:
        self._program.append(Op(number, call, arguments))

    def _make(self, number: int) -> None:
        kind = self._kind if self._random.random() < 0.9 else self._one(*_KINDS)
        self._op(number, "socket", kind)
        self._sockets.append(number)

    def _connection(self, ending: float) -> None:
        self._op(0, "socket", self._kind)
        self._op(0, "bind", self._bound(), "0")
        if self._random.random() < 0.15:
            self._op(0, "setsockopt", *self._option_set(), self._limit())
        self._op(0, "listen", self._one("0", "1", "2"))
        self._op(1, "socket", self._kind)
        if self._random.random() < 0.2:
            self._op(1, "bind", "ANY", "1")
        if self._random.random() < 0.15:
            self._op(1, "settimeout", "0")
        self._op(1, "connect", self._peer(1), "0")
        self._op(0, "accept", "2")
        self._sockets += [0, 1, 2, 1, 2]  # the ends are chosen more often
        if self._random.random() < _TALKING:
            for sender, receiver in ((1, 2), (2, 1)):
                self._op(sender, "send", self._size())
                self._op(receiver, "recv", self._size())

        if self._random.random() < ending:
            self._op(self._random.choice((1, 2)), *self._ending())

    def _bound(self) -> str:
        return self._one("ANY", "1")

    def _ending(self) -> tuple[str, ...]:
        how = self._one("0", "1", "2", "close")
        return ("close",) if how == "close" else ("shutdown", how)

    def _dial(self, number: int) -> None:
        """A connect that nobody takes, or that is still on its way."""
        if self._random.random() < 0.6:
            self._op(number, "settimeout", "0")
        self._op(number, "connect", self._peer(number), "2")
        self._sockets += [number] * 3

    def _any(self) -> None:
        if max(self._sockets) < 3 and self._random.random() < 0.1:
            self._make(max(self._sockets) + 1)
            return
        weights = [weight for weight, _, _ in self._choices]
        (chosen,) = self._random.choices(self._choices, weights)
        number = self._chosen = self._random.choice(self._sockets)
        self._op(number, chosen[1], *chosen[2]())

    def _new(self, _listener: int) -> int:
        """The number of a socket that an accept makes, in the place of an old one at times."""
        number = min(max(self._sockets) + 1, 3)
        if number not in self._sockets and self._random.random() < 0.5:
            return number
        return 3

    def _size(self) -> str:
        if self._random.random() < 0.6:
            return str(self._random.choice(SMALL))
        return str(self._random.choice(SIZES))

    def _flags(self, share: float) -> tuple[str, ...]:
        if self._random.random() >= share:
            return ()
        flag = self._one(*_FLAGS)
        # Of a longer message CPython's recv would show memory that nobody wrote.
        return ("0" if flag.endswith("TRUNC") and self._kind == _KINDS[1] else flag,)

    def _port(self) -> str:
        return self._one("0", "0", "1", "2", "0xffffffff")

    def _target(self) -> tuple[str, str]:
        cid = self._one("77", "ANY") if self._random.random() < 0.3 else self._peer(self._chosen)
        return cid, self._one("0", "0", "0", "1", "2")

    def _peer(self, _number: int) -> str:
        """The CID at which a socket finds the others."""
        return "1"

    def _option(self) -> tuple[str, str]:
        level, names = self._random.choice(_OPTIONS)
        name = self._random.choice(names)
        return level, f"socket.{'SO_VM_SOCKETS_' if level.endswith('VSOCK') else ''}{name}"

    def _option_set(self) -> tuple[str, str]:
        return "socket.AF_VSOCK", f"socket.SO_VM_SOCKETS_{self._random.choice(_OPTIONS[1][1])}"

    def _time(self) -> tuple[str, str]:
        return self._random.choice(_TIMES)

    def _parts(self) -> tuple[str, str]:
        """Seconds and microseconds."""
        return self._one("0", "1", "-1"), self._one("0", "20000", "-1")

    def _limit(self) -> str:
        """A buffer's size, as CPython passes it."""
        return self._one("0", "1", "128", "4096", "65536", "262144", "300000", "-1")


class HostGenerator(Generator):
    """Makes one whose sockets are a guest's and its host's."""

    def __init__(self, seed: int, index: int):
        super().__init__(seed, index)
        first = self._one("guest", "host")
        second = "host" if first == "guest" else "guest"
        # The listener and what it accepts, who connects, and one more of either side.
        self._sides = {0: first, 1: second, 2: first, 3: "guest", 4: "host"}

    def _op(self, number: int, call: str, *arguments: str) -> None:
        self._program.append(Op(number, call, arguments, self._sides[number]))

    def _new(self, listener: int) -> int:
        return 3 if self._sides[listener] == "guest" else 4

    def _peer(self, number: int) -> str:
        return str(HOST_CID if self._sides[number] == "guest" else GUEST_CID)

    def _bound(self) -> str:
        return "ANY"


def generate(seed: int, index: int, setting: str = LOOPBACK) -> Program:
    """The index-th sequence of a seed."""
    return (Generator if setting == LOOPBACK else HostGenerator)(seed, index).program()


CALLS = Generator(0, 0).calls

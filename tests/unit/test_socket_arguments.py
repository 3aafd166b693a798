# SPDX-License-Identifier: MIT
"""What a socket's calls refuse before the protocol hears of it, as CPython's; in both engines."""

import pytest
from engines import GuestError
from test_loopback import LOCAL, Pair


@pytest.fixture
def pair(engine):
    return Pair(engine)


def refusal(engine, path, *arguments):
    """The name of the exception of a call."""
    with pytest.raises(GuestError) as caught:
        engine.call(path, *arguments)
    assert caught.value.arguments, "it says nothing"
    return caught.value.name


@pytest.mark.parametrize("call", ["send", "sendall"])
def test_text_is_not_sent(pair, call):
    assert refusal(pair.engine, f"~c.{call}", "x") == "TypeError"
    assert pair.engine.attempt("~s.recv", 1)[1]


def test_a_stream_writes_text(pair):
    """MicroPython's streams do, and with them its asyncio's and print()."""
    assert pair.engine.attempt("~c.write", "text") == [4, None]
    assert pair.engine.attempt("~s.recv", 9) == [b"text", None]


@pytest.mark.parametrize("arguments", [["x", 0], [b"x"], [b"x", 0], [b"x", 0, 0, 0]])
def test_sendto_looks_at_what_it_is_given(pair, arguments):
    assert refusal(pair.engine, "~c.sendto", *arguments) == "TypeError"


@pytest.mark.parametrize("call", ["recv", "recvfrom"])
@pytest.mark.parametrize("size", [-1, -(1 << 40)])
def test_a_negative_size_is_refused(pair, call, size):
    assert refusal(pair.engine, f"~c.{call}", size) == "ValueError"


@pytest.mark.parametrize("size", ["x", 1.5])
def test_a_size_is_an_integer(pair, size):
    assert refusal(pair.engine, "~c.recv", size) == "TypeError"


@pytest.mark.parametrize("waits", [b"", b"what waits"])
@pytest.mark.parametrize("size", [-1, 5])
def test_more_than_a_buffer_holds_is_refused(pair, waits, size):
    if waits:
        pair.engine.call("~s.send", waits)
    assert refusal(pair.engine, "~c.recv_into", bytearray(4), size) == "ValueError"
    assert pair.engine.attempt("~c.recv", 10)[0] == (waits or None)


@pytest.mark.parametrize("address", [[], [LOCAL], [LOCAL, 1, 2], [LOCAL, "x"], ["x", 1]])
@pytest.mark.parametrize("call", ["bind", "connect", "connect_ex"])
def test_an_address_is_two_numbers(pair, call, address):
    pair.engine.program.socket("~x")
    assert refusal(pair.engine, f"~x.{call}", address) == "TypeError"


def test_the_numbers_of_an_address_have_32_bits(pair):
    engine = pair.engine
    engine.program.socket("~x")
    engine.call("~x.bind", [-1, (1 << 32) + 3000])
    assert engine.call("~x.getsockname") == [(1 << 32) - 1, 3000]


@pytest.mark.parametrize("seconds, name", [(-1, "ValueError"), (10**10, "OverflowError")])
def test_a_timeout_has_limits(pair, seconds, name):
    assert refusal(pair.engine, "~c.settimeout", seconds) == name
    assert pair.engine.call("~c.gettimeout") == 0


def test_a_backlog_has_limits(pair):
    assert refusal(pair.engine, "~own.listen", 1 << 31) == "OverflowError"
    pair.engine.call("~own.listen", -1)


def test_a_timeout_is_cpythons_timeouterror(pair):
    engine = pair.engine
    engine.clock.looks_take(100)
    engine.call("~c.settimeout", 1)
    with pytest.raises(GuestError) as caught:
        engine.call("~c.recv", 1)
    assert caught.value.name.endswith("TimeoutError")
    assert caught.value.arguments == ["timed out"]

# SPDX-License-Identifier: MIT
"""The console client against a scripted other end."""

import socket
import threading

import pytest

from mpfw.guest.console import Console, ConsoleClosed, ConsoleError, ConsoleTimeout, RemoteError


@pytest.fixture
def line():
    """A console, and the socket that is its other end."""
    ours, theirs = socket.socketpair()
    theirs.settimeout(5)
    console = Console(ours)
    yield console, theirs
    theirs.close()
    console.close()


def test_expect_reads_up_to_the_match_and_keeps_the_rest(line):
    console, end = line
    end.sendall(b"one two three")
    assert console.expect(rb"t(\w)o").group(1) == b"w"
    assert console.expect(rb"\w+").group() == b"three"


def test_expect_joins_what_comes_in_pieces(line):
    console, end = line
    threading.Timer(0.1, end.sendall, [b"mpt"]).start()
    end.sendall(b"pro")
    assert console.expect(rb"prompt", 5)


def test_timeout_shows_what_was_said(line):
    console, end = line
    end.sendall(b"something else")
    with pytest.raises(ConsoleTimeout, match="something else"):
        console.expect(rb"prompt", 0.1)


@pytest.mark.parametrize("ours_first", [True, False])
def test_what_had_come_is_there_after_close(line, ours_first):
    console, end = line
    for size in range(1, 40_000, 1000):
        end.sendall(bytes(size))
    end.sendall(b"the last")
    if not ours_first:
        end.close()
    console.close()
    assert console.unread().endswith(b"the last")


def test_hanging_up_ends_the_wait_at_once(line):
    console, end = line
    threading.Timer(0.1, end.shutdown, [socket.SHUT_RDWR]).start()
    with pytest.raises(ConsoleClosed):
        console.expect(rb"prompt", 60)


def test_read_until_finds_an_ending_that_was_cut_in_two(line):
    console, end = line
    threading.Timer(0.1, end.sendall, [b"ing, then more"]).start()
    end.sendall(b"x" * 100_000 + b"end")
    assert console.read_until(b"ending") == b"x" * 100_000 + b"ending"
    assert console.expect(rb"more")


class RawRepl(threading.Thread):
    """MicroPython's raw REPL as far as it needs no Python: it answers what it is told to."""

    def __init__(self, end, output, error=b"", window=16, abort=False):
        super().__init__(daemon=True)
        self.end, self.output, self.error = end, output, error
        self.window, self.abort = window, abort
        self.code = b""
        self.start()

    def read(self, ending):
        data = b""
        while not data.endswith(ending):
            data += self.end.recv(1)
        return data

    def run(self):
        self.read(b"\x01")
        self.end.sendall(b"raw REPL; CTRL-B to exit\r\n>")
        self.read(b"\x05A\x01")
        self.end.sendall(b"R\x01" + self.window.to_bytes(2, "little"))
        if self.abort:
            self.end.sendall(b"\x04")
            return
        while True:
            byte = self.end.recv(1)
            if byte == b"\x04":
                break
            self.code += byte
            if len(self.code) % self.window == 0:
                self.end.sendall(b"\x01")
        self.end.sendall(b"\x04" + self.output + b"\x04" + self.error + b"\x04>")


@pytest.mark.parametrize("length", [0, 1, 15, 16, 17, 32, 1000])
def test_raw_paste_sends_all_code_within_the_window(line, length):
    console, end = line
    repl = RawRepl(end, b"printed\r\n")
    code = ("x" * length).encode()
    assert console.exec(code, 5) == "printed\n"
    assert repl.code == code


def test_exception_on_the_guest_is_raised_here(line):
    console, end = line
    RawRepl(end, b"before\r\n", b"Traceback\r\nValueError: no\r\n")
    with pytest.raises(RemoteError, match="ValueError: no") as raised:
        console.exec("code", 5)
    assert raised.value.output == "before\n"


def test_eval_gives_a_value(line):
    console, end = line
    RawRepl(end, b"(1, 'two', [3.0, None])\r\n")
    assert console.eval("anything", 5) == (1, "two", [3.0, None])


def test_a_paste_that_the_guest_breaks_off_is_an_error(line):
    console, end = line
    RawRepl(end, b"", abort=True)
    with pytest.raises(ConsoleError, match="broken off"):
        console.exec("x" * 100, 5)

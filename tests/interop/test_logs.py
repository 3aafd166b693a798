# SPDX-License-Identifier: MIT
"""The log over vsock: syslog messages that a host reads, hangs up on, or does not read."""

import re
import socket
import time

import pytest
from sides import IDLE
from streams import accept

from mpfw.guest.console import RemoteError

PORT = 5140
MESSAGE = re.compile(
    rb"<(\d+)>1 (\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{6}Z) guest-33 (\S+) - - - ([^\n]*)\n"
)
DROPPED = re.compile(rb"\d+ lines of the log were dropped")


class Reader:
    """One connection of the guest's log: RFC 5425's frames, each RFC 5424's message."""

    def __init__(self, connection):
        self.connection = connection
        self._data = b""

    def message(self, seconds=30):
        """(priority, where, what) of the next one."""
        self.connection.settimeout(seconds)
        while True:
            found = re.match(rb"(\d+) ", self._data)
            if found:
                end = found.end() + int(found[1])
                if len(self._data) >= end:
                    parts = MESSAGE.fullmatch(self._data[found.end() : end])
                    assert parts, self._data[:end]
                    self._data = self._data[end:]
                    return int(parts[1]), parts[3].decode(), parts[4]
            part = self.connection.recv(65536)
            if not part:
                raise EOFError
            self._data += part

    def until(self, wanted):
        """The texts of `where` "test" up to the one that is `wanted`."""
        texts: list[bytes] = []
        while not texts or texts[-1] != wanted:
            _, where, what = self.message()
            if where in ("test", "logs"):
                texts.append(what)
        return texts


@pytest.fixture
def guest(boot):
    """A guest whose log goes to PORT, at its prompt."""
    guest = boot(vsock=True, fw_cfg=IDLE | {"opt/micropython/log": str(PORT)})
    guest.console.wait_prompt(30)
    guest.console.exec("import machine")
    return guest


@pytest.fixture
def listener(guest):
    listener = guest.vsock.listen(PORT)
    listener.settimeout(30)
    yield listener
    listener.close()


@pytest.mark.once
def test_a_text_of_two_lines_is_two_messages(guest, listener):
    with accept(listener) as connection:
        log(guest, "one\ntwo", "three")
        assert Reader(connection).until(b"three")[-3:] == [b"one", b"two", b"three"]


def log(guest, *texts):
    guest.console.exec(f"for t in {texts!r}: machine.log('test', t)")


def texts(what, count):
    return [f"{what} {n}" for n in range(count)]


def encoded(words):
    return [word.encode() for word in words]


def test_what_was_logged_before_the_host_listened_is_there(guest):
    log(guest, "early")
    time.sleep(2.5)
    with guest.vsock.listen(PORT) as listener:
        listener.settimeout(30)
        with accept(listener) as connection:
            reader = Reader(connection)
            assert reader.until(b"early") == [b"early"]
            log(guest, "late")
            assert reader.until(b"late") == [b"late"]


def test_levels_and_time(guest, listener):
    with accept(listener) as connection:
        reader = Reader(connection)
        code = "for n in ('ERROR', 'WARNING', 'INFO', 'DEBUG', 'ODD'): machine.log('test', n, n)"
        guest.console.exec(code)
        found: dict[bytes, int] = {}
        while len(found) < 5:
            priority, where, what = reader.message()
            if where == "test":
                found[what] = priority
        daemon = 3 << 3
        assert found == {
            b"ERROR": daemon + 3,
            b"WARNING": daemon + 4,
            b"INFO": daemon + 6,
            b"DEBUG": daemon + 7,
            b"ODD": daemon + 5,
        }


def test_lines_are_kept_over_reconnects(guest, listener):
    """Whatever a listener did not read before it hung up, the next one reads."""
    for number in range(5):
        words = texts(f"round {number}", 20)
        log(guest, *words)
        with accept(listener) as connection:
            assert Reader(connection).until(words[-1].encode())[-20:] == encoded(words)
        log(guest, f"between {number}")
    with accept(listener) as connection:
        assert Reader(connection).until(b"between 4")[-1] == b"between 4"


@pytest.mark.once
def test_lines_arrive_while_a_program_runs(guest, listener):
    with accept(listener) as connection:
        reader = Reader(connection)
        guest.console.start("machine.log('test', 'busy')\nwhile True: pass\n")
        assert reader.until(b"busy")[-1] == b"busy"
        guest.console.send(b"\x03")
        with pytest.raises(RemoteError, match="KeyboardInterrupt"):
            guest.console.finish()


@pytest.mark.once
def test_20_000_lines_arrive_in_order(guest, listener):
    count, step = 20_000, 500  # those have room
    with accept(listener) as connection:
        reader = Reader(connection)
        guest.console.start(
            f"import sys\nfor n in range({count}):\n"
            " machine.log('test', '%d' % n)\n"
            f" if n % {step} == {step - 1}: sys.stdin.read(1)\n"
        )
        heard = []
        for last in range(step - 1, count, step):
            heard += reader.until(b"%d" % last)
            guest.console.send("x")
        guest.console.finish()
    assert not any(DROPPED.match(text) for text in heard)
    assert heard == [b"%d" % n for n in range(count)]


@pytest.mark.once
def test_what_nobody_reads_is_dropped_and_counted(guest):
    """64 KiB wait; memory does not grow; the messages that come and the count make all."""
    count = 5000
    used = "__import__('gc').collect() or __import__('gc').mem_alloc()"
    guest.console.exec(f"for n in range({count}): machine.log('test', 'first %d' % n)")
    before = guest.console.eval(used)
    guest.console.exec(f"for n in range({count}): machine.log('test', 'second %d' % n)")
    assert guest.console.eval(used) < before + 4096
    with guest.vsock.listen(PORT) as listener:
        listener.settimeout(30)
        with accept(listener) as connection:
            reader = Reader(connection)
            heard: list[bytes] = []
            while not heard or not DROPPED.match(heard[-1]):
                heard.append(reader.message()[2])
            log(guest, "and on")
            assert reader.until(b"and on") == [b"and on"]
    dropped = int(heard.pop().split()[0])
    kept = [text for text in heard if text.startswith(b"first ")]
    assert kept == [b"first %d" % n for n in range(len(kept))]
    assert len(kept) + dropped == 2 * count
    assert len(kept) > 500


@pytest.mark.once
def test_a_listener_that_does_not_read_holds_nothing_up(guest, listener):
    with accept(listener) as connection:
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        count = 20_000
        guest.console.exec(f"for n in range({count}): machine.log('test', '%d' % n)", timeout=60)
        reader = Reader(connection)
        total, last = 0, -1
        while total < count:
            _, where, what = reader.message()
            if DROPPED.match(what):
                total += int(what.split()[0])
            elif where == "test":
                assert int(what) > last
                last = int(what)
                total += 1
        assert total == count


def test_the_last_lines_are_sent_before_the_machine_is_off(guest, listener):
    with accept(listener) as connection:
        guest.console.interrupt()
        guest.console.send("machine.log('test', 'last'); machine.poweroff()\r")
        reader = Reader(connection)
        said = []
        with pytest.raises(EOFError):
            while True:
                said.append(reader.message()[1:])
        assert said[-2:] == [("test", b"last"), ("machine", b"poweroff")]
    assert guest.wait() == 0


@pytest.mark.once
def test_a_program_starts_and_stops_it(boot):
    guest = boot(vsock=True, fw_cfg=IDLE)
    guest.console.wait_prompt(30)
    with guest.vsock.listen(PORT) as listener:
        listener.settimeout(30)
        guest.console.exec(f"import apps.logs, machine; apps.logs.start({PORT})")
        with accept(listener) as connection:
            reader = Reader(connection)
            log(guest, "one")
            assert reader.until(b"one") == [b"one"]
            guest.console.exec("apps.logs.stop()")
            log(guest, "two")
            with pytest.raises(EOFError):
                reader.message()


@pytest.mark.once
def test_after_a_soft_reset_it_goes_on(guest, listener):
    with accept(listener) as connection:
        log(guest, "before")
        assert Reader(connection).until(b"before")
    guest.console.soft_reset()
    with accept(listener) as connection:
        guest.console.exec("import machine")
        log(guest, "after")
        assert Reader(connection).until(b"after")[-1] == b"after"


@pytest.mark.once
def test_a_port_that_is_none_is_said(boot):
    guest = boot(vsock=True, fw_cfg=IDLE | {"opt/micropython/log": "syslog"})
    guest.console.expect("opt/micropython/log: a vsock port is a number, not ", 30)
    guest.console.wait_prompt()

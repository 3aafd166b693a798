# SPDX-License-Identifier: MIT
"""The console of `mpfw run`, whose device lies while a script uses it: the script gets an OSError
or goes on, and the machine's own console lives."""

import itertools
import random
import re
import time

import pytest
from pci_guest import computes, proxied, said, with_msi

from mpfw.device import liars
from mpfw.device.console_pci import (
    CONTROL_RX,
    CONTROL_TX,
    DEVICE_ADD,
    DEVICE_REMOVE,
    PORT_NAME,
    PORT_OPEN,
    ConsoleFunction,
    queues,
)
from mpfw.guest.console import ConsoleTimeout

OUT, ERR = 0, 1  # ports
RX, TX = zip(queues(OUT), queues(ERR), strict=True)

# Prints until that fails, and says on the log, which is not the device's, what it got.
PRINTS = """
import machine, time
print("begun")
try:
    while True:
        print("x" * 1000)
        time.sleep_ms(1)
except OSError as error:
    machine.log("script", "errno %d" % error.errno)
"""
READS = """
import machine, sys
print("begun")
try:
    machine.log("script", "read %r" % sys.stdin.readline())
except OSError as error:
    machine.log("script", "errno %d" % error.errno)
"""
COMPLAINS = PRINTS.replace('"x" * 1000', '"x", file=__import__("sys").stderr')
WAYS = {"interrupts": (with_msi, 4), "none": (proxied, 0)}


@pytest.fixture(params=WAYS)
def seat(image, request):
    """seat(script, kind=ConsoleFunction, **settings): such a guest; the prompt follows."""
    guests, vectors = WAYS[request.param]
    left = []

    def seat(script, kind=ConsoleFunction, mode="interactive", **settings):
        function = kind(vectors=vectors, **settings)
        function.record.keep = False
        entries = {"opt/micropython/main.py": script, "opt/micropython/run": mode}
        ending = ("isa-debug-exit,iobase=0xf4,iosize=4",) if mode == "exit" else ()
        guest = guests(image, function, fw_cfg=entries, devices=ending)
        left.append(guest)
        return guest.__enter__(), function

    yield seat
    for guest in left:
        guest.__exit__(None, None, None)


def ended(guest, timeout=20):
    """The script has ended, and the prompt is at the machine's own console, which shows nothing of
    what went wrong; what the log has of it."""
    guest.console.wait_prompt(timeout)
    computes(guest)
    text = said(guest)
    assert "Traceback" not in text, text
    return re.findall(r"script: (.*)", guest.debugcon())


def prompts(guest, timeout):
    """Whether there is a prompt in that time, which is read."""
    try:
        guest.console.wait_prompt(timeout)
    except ConsoleTimeout:
        return False
    return True


USES = {PRINTS: (TX[OUT], CONTROL_RX), READS: (*RX, CONTROL_RX), COMPLAINS: (TX[ERR],)}
NAMES = {PRINTS: "print", READS: "read", COMPLAINS: "stderr"}
LIES = [
    pytest.param(script, queue, lie, id=f"{NAMES[script]}, queue {queue}, {lie.__name__}")
    for script, used in USES.items()
    for queue in used
    for lie in (liars.TRANSMIT_LIES if queue & 1 else liars.RECEIVE_LIES)
]


@pytest.mark.parametrize("script, queue, lie", LIES)
def test_a_ring_that_breaks_is_eio_for_the_script_that_uses_it(seat, script, queue, lie):
    guest, function = seat(script)
    function.await_written(OUT, b"begun")
    with function.lock:
        lie(function.running(queue))
        function.takes.discard(queue)  # nor does it become honest again
    assert ended(guest) == ["errno 5"]


@pytest.mark.parametrize("script", USES, ids=NAMES.get)
def test_a_device_that_needs_a_reset_is_eio_for_the_script(seat, script):
    guest, function = seat(script)
    function.await_written(OUT, b"begun")
    with function.lock:
        function.takes.clear()  # whoever prints waits for it
    function.needs_reset()
    assert ended(guest) == ["errno 5"]


@pytest.mark.parametrize("mode", ["exit", "interactive"])
def test_why_a_script_ended_is_said_on_the_console_when_the_channel_has_broken(seat, mode):
    guest, function = seat("while True:\n    print('begun')\n", mode=mode)
    function.await_written(OUT, b"begun")
    with function.lock:
        for queue in TX:
            liars.wrong_id(function.running(queue))
            function.takes.discard(queue)
    guest.console.expect(r'File "main.py", line 2, in <module>[^>]+: \[Errno 5\] EIO')
    if mode == "interactive":
        computes(guest)
    else:
        assert guest.wait(20) == 3  # status 1, by isa-debug-exit


@pytest.mark.parametrize("script", USES, ids=NAMES.get)
def test_ctrl_c_ends_a_script_whose_device_does_nothing_any_more(seat, script):
    """Nor does what the script's end has to say keep the console away."""
    guest, function = seat(script)
    function.await_written(OUT, b"begun")
    with function.lock:
        function.takes.clear()
    time.sleep(1)
    for _ in range(4):  # one for the script, and for each thing that cannot be said
        guest.console.send(b"\x03")
        if prompts(guest, 2.5):
            guest.console.send("\r")
            break
    ended(guest)
    assert guest.console.exec("import sys; print('here', file=sys.stderr)") == "here\n"


DONE = """
import machine
print("begun")
input()
for _ in range(100):
    print("x" * 100)
machine.log("script", "done")
"""


def test_any_control_message_leaves_a_script_that_uses_its_ports(seat):
    """Ports, events and values of any number, names of any bytes; then it is polite again."""
    guest, function = seat(DONE)
    function.await_written(OUT, b"begun")
    chosen = random.Random(5)
    ports = (OUT, ERR, 2, 3, 0xFFFF, 0x80000000, 0xFFFFFFFF)
    events, values = (*range(9), 0x8000, 0xFFFF), (0, 1, 0xFFFF)
    for port, event, value in itertools.product(ports, events, values):
        if port in (OUT, ERR) and event in (DEVICE_REMOVE, PORT_OPEN):
            continue
        function.tell(port, event, value, chosen.randbytes(chosen.randrange(0, 130)))
    for length in range(8):
        function.give(CONTROL_RX, bytes(length))
    for _ in range(1000):
        function.give(CONTROL_RX, chosen.randbytes(chosen.randrange(8, 129)))
    for port in (OUT, ERR):
        function.tell(port, DEVICE_ADD)
        function.tell(port, PORT_OPEN)
        function.tell(port, PORT_NAME, 1, b"\xff\xfe\0\0")
    function.send(OUT, b"\n")
    assert ended(guest) == ["done"]
    assert function.written[OUT].count(b"x") == 10000


@pytest.mark.parametrize("event", [DEVICE_REMOVE, PORT_OPEN])
@pytest.mark.parametrize("script, heard", [(PRINTS, ["errno 32"]), (READS, ["read ''"])])
def test_a_port_that_goes_away_is_the_scripts_end_of_file(seat, script, heard, event):
    guest, function = seat(script)
    function.await_written(OUT, b"begun")
    function.tell(OUT, event, 0)
    assert ended(guest) == heard


NAMED = [b"", b"\xff\xfe", b"mpfw.io\0mpfw.io", b"m" * 120, b"mpfw.err", b"\0" * 120]


@pytest.mark.parametrize("called", NAMED)
def test_a_port_of_another_name_is_not_the_scripts(seat, called):
    """Its standard streams are the machine's console then."""
    guest, function = seat("print('begun' * 2)", names=(called, called))
    guest.console.expect("begunbegun", 20)
    ended(guest)
    assert not function.written[OUT]


class Mute(ConsoleFunction):
    """It takes no control messages."""

    def started(self):
        self.takes.discard(CONTROL_TX)


class Leaving(ConsoleFunction):
    """Its ports are named, and nobody is there any more when they are used."""

    def _control(self, port, event, value):
        super()._control(port, event, value)
        self.tell(ERR, PORT_OPEN, 0)
        self.tell(OUT, PORT_OPEN, 0)


class Breaking(ConsoleFunction):
    """It breaks as soon as it has been told that the driver is there."""

    def _control(self, port, event, value):
        liars.wrong_id(self.running(CONTROL_RX))


@pytest.mark.parametrize("device", [Mute, Leaving, Breaking])
def test_a_device_that_fails_at_once_leaves_the_console(seat, device):
    guest, _ = seat("print('begun' * 2)", device)
    ended(guest)


def test_a_flood_of_control_messages_leaves_the_script_and_the_console(seat):
    guest, function = seat(DONE, Flooding)
    function.await_written(OUT, b"begun")
    function.flooding = True
    for _ in range(100):  # more than there are buffers
        function.tell(9, 9)
    function.wait(lambda: function.count > 1000, 20)
    function.send(OUT, b"\n")
    ended(guest)


class Flooding(ConsoleFunction):
    """While `flooding`, each control buffer comes back as soon as it is posted."""

    flooding = False
    count = 0

    def notified(self, index):
        if self.flooding and index == CONTROL_RX:
            for _ in range(100):
                self.count += 1
                self.tell(OUT, PORT_NAME, 1, b"name")
        super().notified(index)


def test_frames_without_an_end_cost_no_memory(seat):
    """What comes on the port of frames is a few bytes, or it is nothing."""
    guest, function = seat(DONE)
    function.await_written(OUT, b"begun")
    function.send(ERR, b"\x01\0\0\0\xff\xff\xff\xff")  # one of 4 GiB
    for _ in range(8000):  # 128 MB, more than the guest has
        function.send(ERR, bytes(16384))
    function.send(OUT, b"\n")
    assert ended(guest, 60) == ["done"]

# SPDX-License-Identifier: MIT
"""A device that breaks a ring: whoever waits is told, with the true cause, and can go on."""

import re
import time
from functools import partial

import blocked
import pytest
from blocked import PORT, PRELUDE

from mpfw.device import liars
from mpfw.device.firmware import vsock as w
from mpfw.device.vsock import RX, TX


@pytest.mark.parametrize("queue", [RX, TX])
@pytest.mark.parametrize("call", blocked.CALLS)
def test_a_program_that_waits_hears_of_a_broken_ring_and_goes_on_after_reopen(prompt, call, queue):
    """Once: recv, connect, poll and accept never returned, and send gave EPIPE."""
    guest = prompt(blocked.Quiet())
    wanted = blocked.wait_in(guest, guest.policy, call)
    with guest.device.lock:
        liars.wrong_id(guest.device.ring(queue))
    assert guest.console.finish(10).split() == [str(wanted)]
    assert not guest.tracebacks()
    blocked.goes_on(guest, guest.policy)


@pytest.mark.parametrize("queue", [RX, TX])
def test_a_server_of_asyncio_goes_on_after_reopen(prompt, queue):
    guest = prompt()
    blocked.serve(guest)
    with guest.device.lock:
        liars.wrong_id(guest.device.ring(queue))
    blocked.serves_again(guest, guest.policy)


LIES = [(TX, lie) for lie in liars.TRANSMIT_LIES] + [(RX, lie) for lie in liars.RECEIVE_LIES]


@pytest.mark.parametrize("queue, lie", LIES, ids=lambda part: getattr(part, "__name__", part))
def test_a_broken_ring_is_noticed_and_named(prompt, queue, lie):
    guest = prompt()
    guest.console.exec("import vsock\nvsock.get()")
    for _ in range(3):  # also to a guest that has not yet stopped its device
        with guest.device.lock:
            if queue in guest.device.rings:
                lie(guest.device.ring(queue))
        time.sleep(0.2)
    guest.answers()
    assert not guest.tracebacks()
    assert re.search(f"ERROR vsock: .*queue {queue}: ", guest.debugcon())
    assert f"queue {queue}: closed" not in guest.debugcon()


def test_a_buffer_that_comes_back_twice_does_no_harm(prompt):
    guest = prompt()
    guest.console.exec("import vsock\nvsock.get()")
    with guest.device.lock:
        liars.twice(guest.device.ring(RX))
    guest.answers()
    assert not guest.tracebacks()


@pytest.mark.parametrize("queue", [RX, TX])
def test_after_a_soft_reset_a_device_that_behaves_again_works(prompt, queue):
    guest = prompt()
    guest.policy.listen(PORT)
    guest.console.exec(PRELUDE + "sock = dial()")
    with guest.device.lock:
        liars.wrong_id(guest.device.ring(queue))
    time.sleep(0.2)
    guest.console.soft_reset()
    guest.console.exec(PRELUDE + "sock = dial()\nsock.sendall(b'again')")
    guest.policy.accept(PORT)
    assert guest.policy.accept(PORT).receive(5) == b"again"


SENT = """
sock = dial()
sock.sendall(b'first')
buffer = bytearray(1 << 20)
sock.settimeout({timeout})
start = time.ticks_ms()
print('now')
print(errno_of(sock.send, buffer), time.ticks_diff(time.ticks_ms(), start) < 5000)
"""


@pytest.mark.parametrize("timeout", [0, 0.5])
def test_a_send_that_may_not_wait_does_not_wait_for_the_device_to_give_a_buffer_back(
    prompt, timeout
):
    guest = prompt(liars.Hoarder())
    guest.policy.alloc = 4 << 20
    guest.policy.listen(PORT)
    guest.console.exec(PRELUDE + "import vsock\nvsock.get()")
    guest.policy.hoarding = True
    guest.console.start(SENT.format(timeout=timeout))
    stream = guest.policy.accept(PORT)
    assert stream.receive(5) == b"first"
    guest.console.expect("now")
    said = guest.console.finish(10).split()
    assert said[1] == "True"
    assert int(said[0]) > 0  # bytes, or EAGAIN
    guest.policy.release()
    guest.answers()


def test_ctrl_c_ends_a_send_whose_buffer_the_device_keeps(prompt):
    guest = prompt(liars.Hoarder())
    guest.policy.alloc = 4 << 20
    guest.policy.listen(PORT)
    guest.console.exec(PRELUDE + "import vsock\nvsock.get()")
    guest.policy.hoarding = True
    guest.console.start(SENT.format(timeout=None))
    guest.policy.accept(PORT)
    guest.console.expect("now")
    time.sleep(0.5)
    guest.console.interrupt()
    guest.answers()
    guest.policy.release()
    guest.policy.listen(PORT)
    guest.console.exec("sock = dial()\nsock.sendall(b'again')")
    assert guest.policy.accept(PORT).receive(5) == b"again"


def test_buffers_completed_as_fast_as_they_are_posted_leave_the_prompt(prompt):
    guest = prompt(liars.Flooder(w.HEADER_LEN))
    guest.console.exec("import vsock\nvsock.get()")
    guest.policy.flood()
    time.sleep(1)
    guest.answers(20)
    assert guest.policy.count > 1000
    guest.policy.flood(False)
    assert not guest.tracebacks()


def test_an_interrupt_without_news_again_and_again_leaves_the_prompt(prompt):
    guest = prompt()
    guest.console.exec("import vsock\nvsock.get()")
    end = time.monotonic() + 3
    while time.monotonic() < end:
        with guest.device.lock:
            guest.device.ring(RX).ring()
            guest.device.ring(TX).ring()
    guest.answers(20)


CALLS = """
import socket, vsock
def calls():
    while True:
        with socket.socket() as sock:
            sock.settimeout(0.01)
            try:
                sock.connect((2, 5002))
            except OSError:
                pass
        try:
            if vsock.get().device is None or vsock.get().device.broken:
                vsock.reopen()
        except OSError:
            pass
vsock.get()
print("now")
calls()
"""


def runs_again(device, broken):
    return device.starts > broken and RX in device.rings


def break_among_interrupts(guest):
    """The ring that runs, whose buffers must all be others."""
    with guest.device.lock:
        ring = guest.device.ring(RX)
        heads = ring.heads()
        posted = [ring.first(head)[0] for head in heads]
        assert len(posted) == len(set(posted))
        ring.put_all(heads[:3], w.HEADER_LEN)
        for _ in range(3):
            ring.ring()
        liars.wrong_id(ring)


def test_a_ring_that_breaks_while_a_program_polls_gives_no_buffer_back_twice(prompt):
    """Its handler came in the middle; two buffers of the next ring were the same memory."""
    guest = prompt(blocked.Quiet())
    device = guest.device
    guest.console.start(CALLS)
    guest.console.expect("now")
    for broken in range(150):
        device.wait(partial(runs_again, device, broken), "it is not opened")
        time.sleep(0.005)
        break_among_interrupts(guest)
    guest.console.interrupt()
    guest.answers()

# SPDX-License-Identifier: MIT
"""Programs that wait for a device which then breaks: what they wait in, what they must hear."""

import time
from errno import EIO

from mpfw.device import liars

PORT = 5000  # answers
SILENT = 5002  # does not
LISTENING = 5001  # in the guest
_EVENT = {"POLLERR": 8}

PRELUDE = """
import asyncio, errno, select, socket, time, vsock
def errno_of(function, *arguments):
    try:
        return function(*arguments)
    except OSError as error:
        return error.errno
def dial():
    sock = socket.socket()
    sock.connect((2, 5000))
    return sock
def patient():
    sock = socket.socket()
    minute = bytes([60] + [0] * 15)  # a timeval; as it is, two seconds
    sock.setsockopt(socket.AF_VSOCK, socket.SO_VM_SOCKETS_CONNECT_TIMEOUT, minute)
    return sock
def listening():
    sock = socket.socket()
    sock.bind((socket.VMADDR_CID_ANY, 5001))
    sock.listen(1)
    return sock
def poll(sock, events):
    poll = select.poll()
    poll.register(sock, events)
    return [event for _, event in poll.poll()]
async def reading(port, call, *arguments):
    stream, _ = await asyncio.open_connection(2, port)
    return await getattr(stream, call)(*arguments)
async def draining(port):
    _, stream = await asyncio.open_connection(2, port)
    stream.write(b"x" * 1000000)
    await stream.drain()
async def beside(waiting):
    # Another task runs meanwhile, as in a program that has more to do.
    async def count():
        while True:
            await asyncio.sleep_ms(50)
    other = asyncio.create_task(count())
    try:
        return await waiting
    finally:
        other.cancel()
def run(waiting):
    return errno_of(asyncio.run, waiting)
"""

# name -> what comes before it, what a program waits in, and what that gives when the device breaks
CALLS = {
    "recv": ("sock = dial()", "errno_of(sock.recv, 1)", EIO),
    "recv, timed": (
        "sock = dial()\nsock.settimeout(60)",
        "errno_of(sock.recv, 1)",
        EIO,
    ),
    "send": ("sock = dial()", "errno_of(sock.sendall, b'x' * 1000000)", EIO),
    "send, timed": (
        "sock = dial()\nsock.settimeout(60)",
        "errno_of(sock.sendall, b'x' * 1000000)",
        EIO,
    ),
    "accept": ("sock = listening()", "errno_of(sock.accept)", EIO),
    "connect": (
        "sock = patient()",
        "errno_of(sock.connect, (2, 5002))",
        EIO,
    ),
    "poll, connected": (
        "sock = dial()",
        "poll(sock, select.POLLIN)[0] & select.POLLERR",
        _EVENT["POLLERR"],
    ),
    "poll, listening": (
        "sock = listening()",
        "poll(sock, select.POLLIN)[0] & select.POLLERR",
        _EVENT["POLLERR"],
    ),
    "asyncio: open_connection": ("", "run(reading(5002, 'read', 1))", EIO),
    "asyncio: open_connection, then readline": ("", "run(reading(5002, 'readline'))", EIO),
    "asyncio: open_connection, then drain": ("", "run(draining(5002))", EIO),
    "asyncio: read": ("", "run(reading(5000, 'read', 1))", EIO),
    "asyncio: readexactly": ("", "run(reading(5000, 'readexactly', 9))", EIO),
    "asyncio: readline, beside a task": ("", "run(beside(reading(5000, 'readline')))", EIO),
    "asyncio: drain": ("", "run(draining(5000))", EIO),
}

# The server of asyncio itself passes over a failed accept, and goes on.
SERVER = """
async def shout(reader, writer):
    writer.write((await reader.readline()).upper())
    await writer.drain()
    writer.close()
    await writer.wait_closed()
async def serve():
    server = await asyncio.start_server(shout, socket.VMADDR_CID_ANY, 5001)
    print("now")
    while vsock.get().device.broken is None:
        await asyncio.sleep_ms(20)
    vsock.reopen()
    print("reopened")
    await server.wait_closed()
"""


class Quiet(liars.Deaf):
    """Answers connections to PORT; those to SILENT are never answered."""

    def packet(self, packet):
        if packet.dst_port != SILENT:
            super().packet(packet)


def wait_in(guest, policy, call):
    """Have the guest's program wait in one of CALLS; what that must give."""
    policy.listen(PORT)
    before, expression, wanted = CALLS[call]
    guest.console.exec(f"{PRELUDE}\nvsock.get()\n{before}")
    guest.console.start(f"print('now')\nprint({expression})")
    guest.console.expect("now")
    time.sleep(0.3)
    return wanted


def goes_on(guest, policy):
    """The same program works again after vsock.reopen()."""
    guest.console.exec("vsock.reopen()")
    with policy.device.lock:
        policy.accepted[PORT].clear()
    guest.console.exec("sock = dial()\nsock.sendall(b'again')")
    assert policy.accept(PORT).receive(5) == b"again"


def serve(guest):
    """Have a server of asyncio's wait for connections."""
    guest.console.exec(f"{PRELUDE}\nvsock.get()\n{SERVER}")
    guest.console.start("asyncio.run(serve())")
    guest.console.expect("now")


def serves_again(guest, policy):
    """The server goes on once its program has opened the device again."""
    guest.console.expect("reopened")
    stream = policy.connect(LISTENING)
    stream.send(b"hello\n")
    assert stream.receive(6) == b"HELLO\n"

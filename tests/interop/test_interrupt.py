# SPDX-License-Identifier: MIT
"""Ctrl-C while a program waits on sockets: the prompt comes at once, the sockets go on working."""

import time

import pytest
from sides import IDLE
from streams import SECONDS, accept, receive

from mpfw.guest.console import RemoteError

PORT = 7600

OPEN = f"""
import socket, time
listener = socket.create_server((socket.VMADDR_CID_ANY, {PORT}))
"""
ACCEPT = f"{OPEN}print('listening'); sock, peer = listener.accept()"
TALK = "print(sock.recv(100)); sock.sendall(b'still here')"


def interrupt(guest):
    """Ctrl-C, once the guest is asleep; the program, which would wait for ever, is over."""
    time.sleep(0.3)
    guest.console.send(b"\x03")
    with pytest.raises(RemoteError, match="KeyboardInterrupt"):
        guest.console.finish()


@pytest.fixture
def guest(boot):
    """A guest at its prompt, its vsock driver at work."""
    guest = boot(vsock=True, fw_cfg=IDLE)
    guest.console.wait_prompt(30)
    guest.console.exec("import socket; socket.get_local_cid()")
    return guest


def connected(guest):
    """A connection to the guest's `sock`."""
    guest.console.start(ACCEPT)
    guest.console.expect("listening\r\n")
    connection = guest.vsock.dial(PORT)
    connection.settimeout(SECONDS)
    guest.console.finish()
    return connection


def talks(guest, connection):
    """Both directions of the guest's `sock` still work."""
    connection.sendall(b"there?")
    assert guest.console.exec(TALK) == "b'there?'\n"
    assert receive(connection, 10) == b"still here"


def test_ctrl_c_during_accept(guest):
    guest.console.start(ACCEPT)
    guest.console.expect("listening\r\n")
    interrupt(guest)
    with guest.vsock.dial(PORT) as connection:
        connection.settimeout(SECONDS)
        guest.console.exec("sock, peer = listener.accept()")
        talks(guest, connection)


def test_ctrl_c_during_recv(guest):
    with connected(guest) as connection:
        guest.console.start("sock.recv(1)")
        interrupt(guest)
        talks(guest, connection)


def test_ctrl_c_during_a_blocked_send(guest):
    with connected(guest) as connection:
        guest.console.start("sock.sendall(bytes(8 << 20))")
        interrupt(guest)
        # What was sent before is not lost: the host reads it and then what comes next.
        guest.console.start("sock.sendall(b'end of it'); sock.close()")
        received = b"".join(iter(lambda: connection.recv(65536), b""))
        assert guest.console.finish() == ""
        assert received.endswith(b"end of it")
        assert not received.removesuffix(b"end of it").strip(b"\0")
        assert len(received) < 8 << 20
    with guest.vsock.dial(PORT) as connection:
        connection.settimeout(SECONDS)
        guest.console.exec("sock, peer = listener.accept()")
        talks(guest, connection)


def test_ctrl_c_during_connect(guest):
    # Nobody listens there. A host that does not refuse lets the guest wait.
    code = f"{OPEN}s = socket.socket()\nwhile True:\n    s.connect_ex((2, {PORT + 1}))"
    guest.console.start(code)
    interrupt(guest)
    with guest.vsock.listen(PORT + 1) as host_listener:
        host_listener.settimeout(SECONDS)
        guest.console.start(f"sock = socket.create_connection((2, {PORT + 1}), 10)")
        with accept(host_listener) as connection:
            guest.console.finish()
            talks(guest, connection)


ASYNCIO = f"""
import asyncio, socket
async def echo(reader, writer):
    print('accepted')
    while data := await reader.read(100):
        writer.write(data)
        await writer.drain()
async def main():
    server = await asyncio.start_server(echo, socket.VMADDR_CID_ANY, {PORT})
    print('listening')
    await server.wait_closed()
asyncio.run(main())
"""


def test_ctrl_c_during_asyncio_run(guest):
    guest.console.start(ASYNCIO)
    guest.console.expect("listening\r\n")
    with guest.vsock.dial(PORT) as connection:
        connection.settimeout(SECONDS)
        connection.sendall(b"async")
        assert receive(connection, 5) == b"async"
        interrupt(guest)
    guest.console.exec(f"asyncio.new_event_loop()\nPORT = {PORT + 1}")
    guest.console.start(ASYNCIO.replace(str(PORT), str(PORT + 1)))
    guest.console.expect("listening\r\n")
    with guest.vsock.dial(PORT + 1) as connection:
        connection.settimeout(SECONDS)
        connection.sendall(b"again")
        assert receive(connection, 5) == b"again"
    interrupt(guest)


def test_ctrl_c_during_poll(guest):
    with connected(guest) as connection:
        code = "import select; p = select.poll(); p.register(sock, select.POLLIN); p.poll()"
        guest.console.start(code)
        interrupt(guest)
        talks(guest, connection)


def test_ctrl_c_in_the_echo_payload_gives_the_prompt(echo):
    echo.console.interrupt()
    assert echo.console.eval("6 * 7") == 42


def test_interrupts_during_a_transfer_cost_at_most_what_recv_held(guest):
    """A recv that is cut off may lose what it had in its hands, and nothing else."""
    times, amount, held = 8, 1 << 17, 1000
    with connected(guest) as connection:
        guest.console.exec("got = 0")
        receive_all = f"""
print('go')
while True:
    data = sock.recv({held})
    assert data == bytes(len(data))
    got += len(data)
"""
        for _ in range(times):
            guest.console.start(receive_all)
            guest.console.expect("go\r\n")
            connection.sendall(bytes(amount))
            guest.console.send(b"\x03")
            with pytest.raises(RemoteError, match="KeyboardInterrupt"):
                guest.console.finish(5)
        guest.console.start(receive_all)
        guest.console.expect("go\r\n")
        interrupt(guest)
        got = guest.console.eval("got")
        assert times * (amount - held) <= got <= times * amount
        talks(guest, connection)

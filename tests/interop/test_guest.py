# SPDX-License-Identifier: MIT
"""mpfw.Guest's connections, whichever device carries them; its own device, CID and sockets."""

import asyncio
import socket
import threading

import pytest
from streams import SECONDS

import mpfw
from mpfw.guest.driven import AGENT
from mpfw.guest.vsockhost import pick_kind

PORT = 7700


@pytest.fixture
def guest(boot):
    """A guest that takes requests, on the host under test."""
    return boot(vsock=True, drive=AGENT)


@pytest.fixture
def kind(host):
    """What mpfw.Guest is to take; what runs in the lab is no guest of this machine's."""
    if host.kind == "lab":
        pytest.skip("mpfw.Guest boots guests on this machine")
    return pick_kind(host.kind)


def echo(port, count):
    import socket

    listener = socket.socket(socket.AF_VSOCK, socket.SOCK_STREAM)
    listener.bind((socket.VMADDR_CID_ANY, port))
    listener.listen(count)
    for _ in range(count):
        connection, _ = listener.accept()
        connection.sendall(connection.recv(100))
        connection.close()


def greet(port):
    import socket

    with socket.socket(socket.AF_VSOCK, socket.SOCK_STREAM) as sock:
        sock.connect((socket.VMADDR_CID_HOST, port))
        sock.sendall(b"from the guest")
        return sock.recv(100)


def test_connect_waits_for_the_guests_listener(guest):
    echoing = guest.start(echo, PORT, 3)
    for word in (b"one", b"two", b"three"):
        with guest.connect(PORT) as connection:
            assert connection.gettimeout() is None
            connection.sendall(word)
            assert connection.recv(100) == word
    echoing.result()


def test_threads_connect_while_a_call_is_under_way(guest):
    echoing = guest.start(echo, PORT, 8)
    answers = []

    def ask(number):
        with guest.connect(PORT) as connection:
            connection.sendall(b"%d" % number)
            answers.append(connection.recv(100))

    threads = [threading.Thread(target=ask, args=[n]) for n in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(SECONDS)
    echoing.result()
    assert sorted(answers) == [b"%d" % n for n in range(8)]


def test_listen_takes_the_guests_connections(guest):
    with guest.listen(PORT) as listener:
        greeting = guest.start(greet, PORT)
        connection, _ = listener.accept()
        with connection:
            assert connection.recv(100) == b"from the guest"
            connection.sendall(b"from the host")
        assert greeting.result() == b"from the host"


def test_connect_gives_up_after_its_time_out(guest):
    guest.ready()
    with pytest.raises(mpfw.GuestTimeout, match=f"port {PORT} in 0.5 s"):
        guest.connect(PORT, timeout=0.5)


def test_a_guest_that_is_off_is_connected_to_by_nobody(guest):
    with pytest.raises(mpfw.GuestEnded):
        guest.run("import machine; machine.poweroff()")
    with pytest.raises(mpfw.GuestEnded):
        guest.connect(PORT)


def test_a_guest_has_the_cid_asked_for_or_one_of_its_own(image, kind):
    with (
        mpfw.Guest(host=kind, image=image, cid=4711) as one,
        mpfw.Guest(host=kind, image=image) as two,
        mpfw.Guest(host=kind, image=image) as three,
    ):
        assert one.cid == 4711
        cids = [each.call(own_cid) for each in (one, two, three)]
        assert cids == [one.cid, two.cid, three.cid]
        assert len(set(cids)) == 3


def own_cid():
    import socket

    return socket.get_local_cid()  # type: ignore[attr-defined]


def test_a_scripts_port_is_reached_once_it_listens(image, kind, tmp_path):
    (tmp_path / "server.py").write_text(
        "import socket, time\n"
        "time.sleep(0.3)\n"
        "listener = socket.socket(socket.AF_VSOCK, socket.SOCK_STREAM)\n"
        f"listener.bind((socket.VMADDR_CID_ANY, {PORT}))\n"
        "listener.listen(1)\n"
        "connection, _ = listener.accept()\n"
        "connection.sendall(b'served')\n"
        "connection.close()\n"
    )
    with mpfw.Guest(tmp_path / "server.py", host=kind, image=image) as guest:
        with guest.connect(PORT) as connection:
            assert connection.recv(100) == b"served"
        assert guest.wait_status() == 0


def test_the_hybrid_socket_is_where_it_is_wanted(image, tmp_path):
    path = tmp_path / "guest.vsock"
    with mpfw.Guest(host="vhost-user", uds_path=path, image=image) as guest:
        echoing = guest.start(echo, PORT, 1)
        with guest.connect(PORT) as connection:
            connection.sendall(b"word")
            assert connection.recv(100) == b"word"
        echoing.result()
        assert guest.uds_path == path
        assert path.is_socket()
        with pytest.raises(mpfw.NotPossible, match="no snapshot of a guest with vhost-user-vsock"):
            guest.snapshot()
    assert not path.exists()


def test_a_daemon_of_ones_own_carries_the_device(image, tmp_path):
    missing = tmp_path / "daemon"
    with pytest.raises(mpfw.StartError, match="daemon: No such file"):
        mpfw.Guest(host="vhost-user", daemon=missing, image=image).__enter__()
    missing.symlink_to("/bin/false")
    with pytest.raises(mpfw.StartError, match="did not start"):
        mpfw.Guest(host="vhost-user", daemon=missing, image=image).__enter__()


def test_guests_of_a_group_reach_each_other(image):
    with (
        mpfw.Guest(host="vhost-user", group="test of the api", image=image) as one,
        mpfw.Guest(host="vhost-user", group="test of the api", image=image) as two,
    ):
        two.ready()
        echoing = one.start(echo, PORT, 1)
        asked = two.call(ask, one.cid, PORT)
        echoing.result()
        assert asked == b"from a sibling"


def ask(cid, port):
    import socket
    import time

    while True:
        sock = socket.socket(socket.AF_VSOCK, socket.SOCK_STREAM)
        try:
            sock.connect((cid, port))
            break
        except OSError:
            sock.close()
            time.sleep(0.05)
    sock.sendall(b"from a sibling")
    return sock.recv(100)


def test_asyncios_streams_go_both_ways(image, kind):
    async def answer(reader, writer):
        writer.write((await reader.read(100)).upper())
        writer.close()

    async def main():
        async with mpfw.AsyncGuest(host=kind, image=image) as guest:
            echoing = asyncio.create_task(guest.call(echo, PORT, 1))
            reader, writer = await guest.open_connection(PORT)
            writer.write(b"to the guest")
            back = await reader.read(100)
            writer.close()
            await echoing
            server = await guest.start_server(answer, PORT + 1)
            async with server:
                return back, await guest.call(greet, PORT + 1)

    assert asyncio.run(main()) == (b"to the guest", b"FROM THE GUEST")


def test_sockets_are_ordinary_ones(guest):
    with guest.listen(PORT) as listener:
        assert isinstance(listener, socket.socket)
        assert listener.type == socket.SOCK_STREAM

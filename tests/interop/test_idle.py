# SPDX-License-Identifier: MIT
"""What a guest costs that has nothing to do."""

import socket

import pytest
from idling import share_of_a_core
from prelude import listen


def wait_for_nobody(port):
    listener = listen(port)
    print("listening")
    listener.accept()


def wait_in_asyncio(port):
    import asyncio

    async def serve(reader, writer):
        await reader.read(1)

    async def main():
        server = await asyncio.start_server(serve, socket.VMADDR_CID_ANY, port)
        print("listening")
        await server.wait_closed()

    asyncio.run(main())


def test_idle_echo_takes_at_most_two_percent_of_a_core(echo):
    assert share_of_a_core(echo) <= 0.02


@pytest.mark.parametrize("waiting", [wait_for_nobody, wait_in_asyncio])
def test_waiting_guest_takes_at_most_two_percent_of_a_core(guest_side, waiting):
    guest_side.start(waiting, 7300)
    guest_side.expect("listening")
    assert share_of_a_core(guest_side.guest) <= 0.02

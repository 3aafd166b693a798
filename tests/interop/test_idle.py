# SPDX-License-Identifier: MIT
"""What a guest costs that has nothing to do."""

import socket

from idling import shares_of_a_core
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


def test_guests_that_wait_take_at_most_two_percent_of_a_core_each(echo, boot_idle):
    """All of them at the same time: what is idle does not disturb who is measured."""
    guests = {"echo": echo}
    for cid, waiting in ((34, wait_for_nobody), (35, wait_in_asyncio)):
        side = boot_idle(cid=cid).start(waiting, 7300)
        side.expect("listening")
        guests[waiting.__name__] = side.guest
    shares = dict(zip(guests, shares_of_a_core(*guests.values()), strict=True))
    assert max(shares.values()) <= 0.02, shares

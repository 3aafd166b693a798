# SPDX-License-Identifier: MIT
"""asyncio over AF_VSOCK as Linux users have it: a socket that they made, handed in."""

import asyncio


def _server(port):
    sock = socket.socket(socket.AF_VSOCK, socket.SOCK_STREAM)
    sock.bind((socket.VMADDR_CID_ANY, port))
    return sock


def _client(port):
    sock = socket.socket(socket.AF_VSOCK, socket.SOCK_STREAM)
    sock.connect((1, port))
    return sock


async def _echo(reader, writer):
    while True:
        line = await reader.readline()
        if not line:
            break
        writer.write(line.upper())
        await writer.drain()
    writer.close()


def alone_stream_server(port):
    async def run():
        server = await asyncio.start_server(_echo, sock=_server(port))
        reader, writer = await asyncio.open_connection(sock=_client(port))
        for word in (b"one\n", b"two\n"):
            writer.write(word)
            await writer.drain()
            print(await reader.readline())
        writer.close()
        await writer.wait_closed()
        server.close()

    asyncio.run(run())


def alone_many_clients(port):
    async def client(number):
        reader, writer = await asyncio.open_connection(sock=_client(port))
        writer.write(b"client %d\n" % number)
        await writer.drain()
        got = await reader.readline()
        writer.close()
        return got

    async def run():
        server = await asyncio.start_server(_echo, sock=_server(port), backlog=10)
        print(await asyncio.gather(*[client(number) for number in range(5)]))
        server.close()

    asyncio.run(run())


def alone_reader_calls(port):
    async def talk(reader, writer):
        writer.write(b"0123456789abc|rest\nlast")
        await writer.drain()
        writer.close()

    async def run():
        server = await asyncio.start_server(talk, sock=_server(port))
        reader, writer = await asyncio.open_connection(sock=_client(port))
        print(await reader.readexactly(4), await reader.read(2), await reader.readexactly(0))
        print(await reader.readline())
        try:
            await reader.readexactly(100)
        except EOFError:
            print("EOFError")
        print(await reader.read(), await reader.readline())
        writer.close()
        server.close()

    asyncio.run(run())


def alone_reader_until(port):
    async def talk(reader, writer):
        writer.write(b"key=value;rest")
        await writer.drain()
        writer.close()

    async def run():
        server = await asyncio.start_server(talk, sock=_server(port))
        reader, writer = await asyncio.open_connection(sock=_client(port))
        print(await reader.readuntil(b"="), await reader.readuntil(b";"))
        try:
            await reader.readuntil(b"\n")
        except EOFError as failure:
            print("EOFError", failure.partial)
        print(reader.at_eof())
        writer.close()
        server.close()

    asyncio.run(run())


def alone_partial(port):
    async def talk(reader, writer):
        writer.write(b"short")
        await writer.drain()
        writer.close()

    async def run():
        server = await asyncio.start_server(talk, sock=_server(port))
        reader, writer = await asyncio.open_connection(sock=_client(port))
        try:
            await reader.readexactly(10)
        except asyncio.IncompleteReadError as failure:
            print(failure.partial, failure.expected)
        writer.close()
        server.close()

    asyncio.run(run())


def alone_lines_of_a_stream(port):
    async def talk(reader, writer):
        writer.writelines([b"a\n", b"b\n", b"c"])
        await writer.drain()
        writer.close()

    async def run():
        server = await asyncio.start_server(talk, sock=_server(port))
        reader, writer = await asyncio.open_connection(sock=_client(port))
        async for line in reader:
            print(line)
        writer.close()
        server.close()

    asyncio.run(run())


def alone_time_out(port):
    async def silent(reader, writer):
        await asyncio.sleep(0.3)
        writer.close()

    async def run():
        server = await asyncio.start_server(silent, sock=_server(port))
        reader, writer = await asyncio.open_connection(sock=_client(port))
        try:
            await asyncio.wait_for(reader.readline(), 0.05)
        except asyncio.TimeoutError as failure:
            print("TimeoutError", isinstance(failure, TimeoutError), failure.args)
        writer.close()
        server.close()

    asyncio.run(run())


def alone_extra_info(port):
    async def talk(reader, writer):
        print(writer.get_extra_info("peername")[0], writer.get_extra_info("sockname") == (1, port))
        print(writer.get_extra_info("unknown"), writer.get_extra_info("unknown", 5))
        writer.close()

    async def run():
        server = await asyncio.start_server(talk, sock=_server(port))
        reader, writer = await asyncio.open_connection(sock=_client(port))
        print(writer.get_extra_info("peername") == (1, port), await reader.read())
        print(writer.can_write_eof(), writer.is_closing())
        writer.close()
        print(writer.is_closing())
        server.close()

    asyncio.run(run())


def alone_end_of_writing(port):
    async def talk(reader, writer):
        data = await reader.read(-1)
        writer.write(b"%d bytes" % len(data))
        await writer.drain()
        writer.close()

    async def run():
        server = await asyncio.start_server(talk, sock=_server(port))
        reader, writer = await asyncio.open_connection(sock=_client(port))
        writer.write(bytes(100000))
        await writer.drain()
        writer.write_eof()
        print(await reader.read())
        writer.close()
        server.close()

    asyncio.run(run())


def alone_loop_calls(port):
    async def run():
        loop = asyncio.get_running_loop()
        server = _server(port)
        server.listen()
        server.setblocking(False)
        client = socket.socket(socket.AF_VSOCK, socket.SOCK_STREAM)
        client.setblocking(False)
        await loop.sock_connect(client, (1, port))
        conn, address = await loop.sock_accept(server)
        await loop.sock_sendall(client, b"x" * 1000)
        print(address[0], len(await loop.sock_recv(conn, 2000)))
        buffer = bytearray(3)
        await loop.sock_sendall(conn, b"abcdef")
        print(await loop.sock_recv_into(client, buffer), bytes(buffer))
        client.close()
        print(await loop.sock_recv(conn, 10))

    asyncio.run(run())


def alone_refused(port):
    async def run():
        loop = asyncio.get_running_loop()
        client = socket.socket(socket.AF_VSOCK, socket.SOCK_STREAM)
        client.setblocking(False)
        try:
            await loop.sock_connect(client, (1, port))
        except ConnectionResetError as failure:
            print("ConnectionResetError", failure.errno)

    asyncio.run(run())


def alone_server_as_context(port):
    async def run():
        async with await asyncio.start_server(_echo, sock=_server(port)):
            reader, writer = await asyncio.open_connection(sock=_client(port))
            writer.write(b"within\n")
            print(await reader.readline())
            writer.close()

    asyncio.run(run())
    tell("then", made().connect, (1, port))


def alone_cancelled_server(port):
    async def run():
        server = await asyncio.start_server(_echo, sock=_server(port))
        task = asyncio.create_task(server.serve_forever())
        await asyncio.sleep(0.01)
        task.cancel()
        try:
            await task
        except asyncio.CancelledError:
            print("cancelled")

    asyncio.run(run())


def alone_tasks(port):
    async def worker(name, delay, seen):
        await asyncio.sleep(delay)
        seen.append(name)
        return name

    async def run():
        seen = []
        slow = asyncio.create_task(worker("slow", 0.04, seen))
        fast = asyncio.create_task(worker("fast", 0.01, seen))
        print(await slow, await fast, seen, slow.done())

    asyncio.run(run())


def alone_gathered_failures(port):
    async def fails():
        raise ValueError("v")

    async def run():
        got = await asyncio.gather(fails(), asyncio.sleep(0, 5), return_exceptions=True)
        print(type(got[0]).__name__, got[1])
        try:
            await asyncio.gather(fails(), asyncio.sleep(0))
        except ValueError:
            print("ValueError")

    asyncio.run(run())

# SPDX-License-Identifier: MIT
"""The peer of a guest whose exits are counted: runs in the lab, beside the kernel's vsock.

Does one thing often, with KVM's trace switched on for just as long. What it talks to is what
wire.h describes; the guest's address and how often are arguments.
"""

import socket
import struct
import sys
import time

TRACING = "/sys/kernel/tracing/"
HOST_PORT = ECHO = 1234
SINK, SOURCE = 1235, 1236
BLOCK = 1 << 16
WARM = 20  # times before it counts
REQUEST = struct.Struct("<QII")  # bytes, bytes of a message, reserved


def put(name, text):
    with open(TRACING + name, "w") as file:
        file.write(text)


def trace(function):
    """Call it, with the trace on."""
    put("trace", "\n")
    put("tracing_on", "1")
    try:
        function()
    finally:
        put("tracing_on", "0")


def dial(cid, port):
    connection = socket.socket(socket.AF_VSOCK, socket.SOCK_STREAM)
    connection.settimeout(20)
    connection.connect((cid, port))
    return connection


def receive(connection, length):
    while length:
        length -= len(
            connection.recv(min(length, BLOCK)) or exit("the guest ended the connection")
        )


def trips(cid, times):
    """Round trips of 64 bytes."""
    with dial(cid, ECHO) as connection:

        def trip(n):
            for _ in range(n):
                connection.sendall(bytes(64))
                receive(connection, 64)

        trip(WARM)
        trace(lambda: trip(times))


def connections(cid, times):
    """Connections, each of which has one byte echoed."""

    def connect(n):
        for _ in range(n):
            with dial(cid, ECHO) as connection:
                connection.sendall(b"x")
                receive(connection, 1)
                connection.shutdown(socket.SHUT_WR)
                if connection.recv(1):
                    sys.exit("the guest said more than it was told")

    connect(WARM)
    trace(lambda: connect(times))


def sink(cid, times):
    """64 KiB at a time to the guest."""
    with dial(cid, SINK) as connection:

        def send(n):
            connection.sendall(REQUEST.pack(n * BLOCK, BLOCK, 0))
            block = bytes(BLOCK)
            for _ in range(n):
                connection.sendall(block)
            receive(connection, 8)

        send(WARM)
        trace(lambda: send(times))


def source(cid, times):
    """64 KiB at a time from the guest."""
    with dial(cid, SOURCE) as connection:

        def take(n):
            connection.sendall(REQUEST.pack(n * BLOCK, BLOCK, 0))
            receive(connection, n * BLOCK)

        take(WARM)
        trace(lambda: take(times))


def idle(cid, seconds):
    """Nothing; nobody listens for the guest."""
    trace(lambda: time.sleep(seconds))


def held(cid, seconds):
    """Nothing, while the guest has the connection that it has asked for."""
    with socket.socket(socket.AF_VSOCK, socket.SOCK_STREAM) as listener:
        listener.bind((socket.VMADDR_CID_ANY, HOST_PORT))
        listener.listen()
        listener.settimeout(20)
        connection, _ = listener.accept()
        with connection:
            receive(connection, len("hello from micropython\n"))
            trace(lambda: time.sleep(seconds))


{f.__name__: f for f in (trips, connections, sink, source, idle, held)}[sys.argv[1]](
    *map(int, sys.argv[2:])
)

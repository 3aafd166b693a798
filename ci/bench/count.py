# SPDX-License-Identifier: MIT
"""Runs in the guest of `mpfw count`, under QEMU's -icount, where the TSC counts instructions.

Prints `name: instructions` for what programs do most. Only names that every version of this tree
has are used, so that images of different ages can be compared.
"""

import socket
import sys
import time

import machine

HOST = 2
PORT = int(sys.argv[1])
TIMES = 61


def least(operation, pause_ms=0):
    """The fewest instructions that it took: in others it met an interrupt, or waited."""
    found = []
    for _ in range(TIMES):
        time.sleep_ms(pause_ms)
        start = time.ticks_cpu()
        operation()
        found.append(time.ticks_cpu() - start)
    return min(found)


def say(name, count):
    print(name + ":", count - nothing)


nothing = least(lambda: None)
small, large = bytes(64), bytes(65536)
small_in, large_in = bytearray(64), bytearray(65536)

listener = socket.create_server((socket.VMADDR_CID_LOCAL, 6000))
near = socket.create_connection((socket.VMADDR_CID_LOCAL, 6000))
far, _ = listener.accept()


def over_the_loopback(data, into):
    near.send(data)
    far.recv_into(into)


def one_connection():
    client = socket.create_connection((socket.VMADDR_CID_LOCAL, 6000))
    server, _ = listener.accept()
    client.close()
    server.close()


say(
    "64 bytes over the loopback, there and taken",
    least(lambda: over_the_loopback(small, small_in)),
)
say("64 KiB over the loopback, there and taken", least(lambda: over_the_loopback(large, large_in)))
say("a connection over the loopback, made and ended", least(one_connection))

peer = socket.create_connection((HOST, PORT))
device = socket.vsock.get().device
say("a look at the device that has nothing", least(device.poll))
# The device is given time to take each packet and to answer it.
say("send of 64 bytes", least(lambda: peer.send(small), pause_ms=4))
say("send of 64 KiB of bytes", least(lambda: peer.send(large), pause_ms=25))
peer.send(b"now you")
time.sleep_ms(50)
say("recv_into of 64 bytes that are there", least(lambda: peer.recv_into(small_in), pause_ms=1))
machine.poweroff()

# SPDX-License-Identifier: MIT
"""Random bytes of virtio-rng (virtio 1.2, 5.4), for os.urandom where the CPU has none.

The port's C calls `read`. The device is opened for each call and closed behind it, so that a
program may have it for itself; while it does, it gives nothing here.
"""

import time

import errnos
import machine
import virtio
from portable import const
from virtio.buffers import Buffers
from virtio.device import VirtioDevice

_LENGTH = const(256)  # bytes that the device is asked for at once
_PATIENCE = const(1000)  # ms that it may take for them


def read(n):
    """`n` random bytes; b"" if there is no device that gives them."""
    for transport in virtio.find(virtio.ENTROPY):
        if transport.taken():
            continue
        try:
            return _read(transport, n)
        except OSError as error:
            machine.log("os", "%r gives no random numbers: %s" % (transport, error), "WARNING")
    return b""


def _read(transport, n):
    device = VirtioDevice(transport)
    try:
        device.negotiate()
        queue = device.queue(0, 1)
        memory = device.borrow(_LENGTH)
        buffers = Buffers(queue, _LENGTH)
        buffers.fill([(memory.addr, 0)])
        device.driver_ok()
        buffers.show()
        data = bytearray()
        while True:
            length = _filled(device, queue, buffers)
            if not length:
                raise OSError(errnos.EIO, "an empty buffer")
            data += bytes(memory[:length])
            if len(data) >= n:
                return bytes(memoryview(data)[:n])
            buffers.post(memory.addr, 0)
            buffers.show()
    finally:
        device.close()


def _filled(device, queue, buffers):
    """Wait for the buffer; how many bytes are in it. Raises ETIMEDOUT, DeviceBroken."""
    end = time.ticks_add(time.ticks_ms(), _PATIENCE)
    length = buffers.take()
    while length < 0:
        device.check()
        left = time.ticks_diff(end, time.ticks_ms())
        if left <= 0:
            raise OSError(errnos.ETIMEDOUT, "nothing in %d ms" % _PATIENCE)
        if not queue.enable_interrupts():
            machine.wait(1000 * left if queue.vector else 1000)
        length = buffers.take()
    return length  # the tag, above it, is 0

# SPDX-License-Identifier: MIT
"""Runs in the guest: the built-in echo, which says every second what memory and tables hold.

MicroPython; watch.py hands it in as the guest's script and reads what it prints. Ctrl-C opens the
device again: whatever a connection held has to be back then.
"""

import gc

import machine
import vsock
from apps import echo

EVERY_US = 1000000


def figures():
    """What the host asks about, as a dict; `store` are the words of the store."""
    gc.collect()
    stack = vsock.get()
    store = stack.store
    if stack.device is not None:
        stack.device.reap()  # what it is done with nobody takes back who has nothing to send
    return {
        "heap_used": gc.mem_alloc(),
        "heap_free": gc.mem_free(),
        "connections": stack.table.count,
        "refused": stack.refused,
        "store": list(store._words),
    }


def tell(vector):
    print("figures", figures())
    vector.after(EVERY_US)


def main():
    served = echo.Echo(dial=False)
    vector = machine.Vector()
    vector.irq(tell)
    vector.after(EVERY_US)
    print("soak: listening")
    while True:
        try:
            served.run()
        except KeyboardInterrupt:
            vsock.reopen()
            print("soak: reopened")


main()

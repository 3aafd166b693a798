# SPDX-License-Identifier: MIT
"""Literals from guests are read in many threads at once."""

import gc
import threading
import time

from mpfw.guest.literals import literal

TEXT = "[" * 10 + "'x', {'a': (1, 2, b'')}" + "]" * 10


class Garbage:
    """A cycle whose end lets other threads run, wherever the collector finds it."""

    def __init__(self):
        self.me = self

    def __del__(self):
        time.sleep(0)


def test_literals_in_threads_that_collect_garbage():
    failures = []

    def read(depth):
        if depth:  # each thread's stack has a depth of its own
            return read(depth - 1)
        for _ in range(300):
            Garbage()
            try:
                literal(TEXT)
            except SystemError as error:
                failures.append(error)

    threshold = gc.get_threshold()
    gc.set_threshold(5)
    try:
        threads = [threading.Thread(target=read, args=(10 * i,)) for i in range(4)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    finally:
        gc.set_threshold(*threshold)
    assert failures == []

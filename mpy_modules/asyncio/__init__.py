# SPDX-License-Identifier: MIT
"""MicroPython's asyncio, whose streams and loop take a socket as CPython's do (asyncio/sock.py).

Its TimeoutError is the builtin one. What few programs need is loaded when it is asked for.
"""

import uselect

from . import core

core.TimeoutError = TimeoutError
core.select = uselect  # what it polls are streams of its own, each once
core.new_event_loop()  # the first one polls with the other
for _name in dir(core):
    if not _name.startswith("_"):
        globals()[_name] = getattr(core, _name)

__version__ = (3, 0, 0)

_PLACES = {
    "wait_for": "funcs",
    "wait_for_ms": "funcs",
    "gather": "funcs",
    "Event": "event",
    "ThreadSafeFlag": "event",
    "Lock": "lock",
    "open_connection": "sock",
    "start_server": "sock",
    "IncompleteReadError": "sock",
    "StreamReader": "sock",
    "StreamWriter": "sock",
}


async def sleep(delay, result=None):
    """Wait so many seconds. A coroutine, for wait_for and gather; sleep_ms allocates less."""
    await core.sleep_ms(int(delay * 1000))
    return result


def get_running_loop():
    """The loop, as CPython calls it."""
    import asyncio.sock  # noqa: F401  gives it what it knows of sockets

    return core.get_event_loop()


def __getattr__(name):
    place = _PLACES.get(name)
    if place is None:
        raise AttributeError(name)
    value = getattr(__import__("asyncio." + place, None, None, (name,)), name)
    globals()[name] = value
    return value

# SPDX-License-Identifier: MIT
"""Sockets of datagrams for tests: any calls, one after the other, and what each came to."""

from bench_objects import objects, offered
from sockets.data import socket
from sockets.datagram import Mailbox  # noqa: F401 (what the first socket imports is there)
from vsock import words as w


@offered
def play(calls):
    """Calls of sockets, [socket, method, arguments]; [value, None] or [None, errno] of each.

    "socket" makes a socket of that name, "watch" has `program.woken` tell of it. An address is a
    list of two, and what is no OSError is told by its name.
    """
    return [_outcome(*each) for each in calls]


def _outcome(name, method, arguments):
    arguments = [_address(each) for each in arguments]
    if method in ("recv_into", "recvfrom_into"):
        arguments[0] = bytearray(arguments[0])
    try:
        if method == "socket":
            made = objects[name] = socket(40, *arguments)
            made.settimeout(0)
            made.bench_name = name
            return [None, None]
        if method == "watch":
            return [objects["program"].watch(name), None]
        return [getattr(objects[name], method)(*arguments), None]
    except TimeoutError:
        return [None, "TimeoutError"]
    except OSError as error:
        return [None, error.errno]
    except (TypeError, ValueError) as error:
        return [None, type(error).__name__]


def _address(value):
    return tuple(value) if isinstance(value, list) and isinstance(value[0], int) else value


@offered
def looks_first_at(name):
    """Whether the receive road looks at this socket's connection before it looks for one."""
    return objects["device"].receiver.last is objects[name].connection


@offered
def full(name):
    """[messages that found no room, bytes that may queue] of a socket."""
    port = objects[name].endpoint
    return [port.block[w.DG_FULL], port.block[w.DG_LIMIT]]


@offered
def free_blocks():
    """Blocks of the store in which nothing is."""
    return objects["stack"].store._words[w.STORE_BLOCKS]

# SPDX-License-Identifier: MIT
"""The protocol modules as the device runs them do what their plain sources do."""

import random

import pytest

from mpfw.device import firmware, specialise

w = firmware.vsock
VALUES = (0, 1, 64, 1000, 65535, 65536, 1 << 18, 1 << 31, (1 << 32) - 1)


@pytest.fixture
def plain(monkeypatch):
    """control and credit without anything taken out."""
    monkeypatch.setattr(firmware, "_PACKAGE", "mpfw.device._plain")
    monkeypatch.setattr(specialise, "_MODULES", ())
    return firmware.module("vsock.control"), firmware.module("vsock.credit")


def call(wild):
    """A function's module, name and arguments behind the block."""
    n, alloc, forwarded = (wild.choice(VALUES) for _ in range(3))
    return wild.choice(
        (
            (0, "connect"),
            (0, "accept", alloc, forwarded),
            (0, "on_control", wild.randrange(9), wild.randrange(4), alloc, forwarded),
            (0, "admit", n, wild.randrange(4), alloc, forwarded),
            (0, "send", wild.choice((1, 64, 65536)), 0),
            (0, "next_owed"),
            (0, "shutdown", wild.choice((w.SHUT_LOCAL_SEND, w.SHUT_LOCAL_RCV))),
            (0, "close"),
            (0, "settle"),
            (0, "overflow", n, 0),
            (0, "fail", 104),
            (1, "room"),
            (1, "consumed", n),
            (1, "tell"),
            (1, "peer_knows"),
        )
    )


@pytest.mark.parametrize("options", [0, w.OPT_FIXED_WINDOW | w.OPT_SHUTDOWN_ONCE])
def test_blocks_stay_the_same_whatever_is_called(plain, options):
    wild = random.Random(15)
    engines = plain, (firmware.control, firmware.credit)
    assert engines[0][0] is not engines[1][0]
    for _ in range(400):
        blocks = []
        for control, _ in engines:
            block = control.control_block(2, 1, 3, 4, firmware.types_.STREAM, 1 << 18)
            block[w.OPTIONS] = options
            control.accept(block, 1 << 18, 0)
            blocks.append(block)
        for _ in range(30):
            number, name, *arguments = call(wild)
            found = [
                getattr(modules[number], name)(block, *arguments)
                for modules, block in zip(engines, blocks, strict=True)
            ]
            assert found[0] == found[1], (name, arguments)
            assert blocks[0] == blocks[1], (name, arguments)

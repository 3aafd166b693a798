# SPDX-License-Identifier: MIT
"""Time-outs of those who wait: moments and what is left until them."""

from types import SimpleNamespace

import vsock_bench

wait = vsock_bench.module("vsock.wait")


def test_a_deadline_is_so_many_microseconds_from_now(monkeypatch):
    clock = SimpleNamespace(
        ticks_us=lambda: 5, ticks_add=lambda a, b: a + b, ticks_diff=lambda a, b: a - b
    )
    monkeypatch.setattr(wait, "time", clock)
    assert wait.deadline(2) == 2_000_005
    assert wait.left(wait.deadline(0.5)) == 500_000
    assert wait.left(4) == 0
    assert wait.left(wait.deadline(None)) == -1

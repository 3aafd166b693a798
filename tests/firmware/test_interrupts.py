# SPDX-License-Identifier: MIT
"""Interrupts that no driver wants, as a device's messages could bring them: the prompt lives on.

The processor sends them to itself (local APIC, ICR), which looks the same to whoever gets them.
"""

import pytest

PRELUDE = """
import machine, time
def send(vector):
    machine.mem32[0xFEE00300] = 0x44000 | vector
"""


@pytest.fixture
def console(repl):
    repl.console.exec(PRELUDE)
    return repl.console


@pytest.mark.parametrize("vector", [16, 17, 21, 30, 31, 32, 0x24, 0x30, 0x3F, 254, 255])
def test_a_vector_that_is_nobodys_does_nothing(console, vector):
    said = console.exec(f"for _ in range(3): send({vector}); time.sleep_ms(2)")
    assert said == ""
    assert console.eval("6 * 7") == 42


@pytest.mark.parametrize("vectors", [1, 3])
def test_interrupts_without_an_end_let_programs_run(console, vectors):
    """Each handler has the next interrupt come before it returns."""
    console.exec(
        f"""
vectors = [machine.Vector() for _ in range({vectors})]
ring = vectors[1:] + vectors[:1]
stop = False
def interrupt(vector):
    if not stop:
        send(ring[vectors.index(vector)].number)
for each in vectors:
    each.irq(interrupt)
send(vectors[0].number)
"""
    )
    assert console.eval("sum(range(100000))") == 4999950000
    before = console.eval("vectors[0].count")
    console.exec("time.sleep_ms(20)")
    assert console.eval("vectors[0].count") > before
    console.exec("stop = True; time.sleep_ms(5)\nfor each in vectors: each.close()")


def test_a_held_interrupt_is_not_lost(console):
    """It comes while the handler of the one before runs, or right behind it."""
    console.exec(
        """
seen = []
vector = machine.Vector()
def interrupt(vector):
    seen.append(vector.count)
    if len(seen) == 1:
        send(vector.number)
    time.sleep_us(300)
vector.irq(interrupt)
for i in range(50):
    seen.clear()
    send(vector.number)
    time.sleep_us(10 * i)
    for _ in range(500):
        time.sleep_ms(2)
        if seen[-1:] == [2 + 2 * i]:
            break
    assert seen[-1] == vector.count == 2 + 2 * i, (i, seen, vector.count)
vector.close()
"""
    )


def test_a_timer_that_is_due_is_not_put_off_by_a_longer_wait(console):
    """The wait begins when the timer's moment is past by the clock, but not by the timer."""
    console.exec(
        """
vector = machine.Vector()
for i in range(1000):
    before = vector.count
    vector.after(200)
    begun = time.ticks_us()
    while time.ticks_diff(time.ticks_us(), begun) < 190 + i % 20:
        pass
    while vector.count == before and time.ticks_diff(time.ticks_us(), begun) < 1000000:
        machine.wait(2000000)
    assert vector.count == before + 1, i
vector.close()
"""
    )

# SPDX-License-Identifier: MIT
"""What the modules under test find as `time`. It stands still unless a test, or a look, moves it.

Every look at it calls `at_look`, if there is one, and takes `look` of them.
"""

_PERIOD = 1 << 62
_HALF = 1 << 61

now = 0  # us
look = 0
at_look = None
_still = 0  # looks since time moved
_cpu = 1  # what ticks_cpu() gave last
timers = []  # those of bench_machine.Vector that are alive


def reset():
    """Begin anew."""
    global now, look, at_look, _still
    now = look = _still = 0
    at_look = None
    timers.clear()


def looks_take(micros):
    """From now on each look takes so many microseconds."""
    global look
    look = micros


def ticks_us():
    global now, _still
    if at_look is not None:
        at_look()
    now += look
    _still = 0 if look else _still + 1
    if _still > 100_000:
        raise AssertionError("the program waits for a time that does not come")
    return now


def ticks_cpu():
    """The CPU's clock runs on where the other stands still."""
    global _cpu
    _cpu += 1009
    return _cpu


def ticks_ms():
    return ticks_us() // 1000


def ticks_add(ticks, delta):
    return (ticks + delta) & (_PERIOD - 1)


def ticks_diff(later, earlier):
    return ((later - earlier + _HALF) & (_PERIOD - 1)) - _HALF


def advance(micros):
    """Let time pass, and timers run out."""
    global now
    end = now + micros
    while True:
        rest = until_timer()
        if rest is None or now + rest > end:
            break
        now += rest
        for each in list(timers):
            if each.due is not None and each.due <= now:
                each.due = None
                each.fire()
    now = max(now, end)


def until_timer():
    """Microseconds until the first timer runs out, None if there is none."""
    due = [each.due for each in timers if each.due is not None]
    return max(0, min(due) - now) if due else None


def time_ns():
    """Nanoseconds since 1970; a look that takes no time."""
    return 10**18 + 1000 * now


def sleep_ms(ms):
    advance(1000 * ms)

# SPDX-License-Identifier: MIT
"""Waiting for input from one file of several.

select() knows no descriptor above 1023 (select(2)), and a test run holds more than that: it has
labs, guests and thousands of connections open at once. poll() has no such bound.
"""

import select
from collections.abc import Iterable
from typing import Any, TypeVar

File = TypeVar("File", bound=Any)  # an int, or what has fileno()


def readable(files: Iterable[File], timeout: float | None = None) -> list[File]:
    """Those of `files`, descriptors or objects that have one, that a read does not block on.

    At an end of file and after an error it does not either. Waits until there is one, `timeout`
    seconds at the longest; without one of them in that time the list is empty. Raises ValueError
    if a file is closed.
    """
    numbers = {file if isinstance(file, int) else file.fileno(): file for file in files}
    poll = select.poll()
    for number in numbers:
        poll.register(number, select.POLLIN)
    ready = poll.poll(None if timeout is None else timeout * 1000)
    if any(events & select.POLLNVAL for _, events in ready):
        raise ValueError("one of the files is closed")
    return [numbers[number] for number, _ in ready]

# SPDX-License-Identifier: MIT
"""When each step of a run was done: for `mpfw run-time`, which names a file for it."""

import os
import time

FILE = "MPFW_RUN_MARKS"  # the environment's variable
_file = os.environ.get(FILE)


def mark(step: str) -> None:
    """A step is done."""
    if _file:
        with open(_file, "a") as file:
            file.write(f"{time.monotonic()} {step}\n")

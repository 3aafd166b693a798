# SPDX-License-Identifier: MIT
# What is frozen into the firmware: every module of this directory, and upstream's asyncio but for
# its __init__.py, in whose place stands ours.
package(
    "asyncio",
    ("core.py", "event.py", "funcs.py", "lock.py", "stream.py"),
    base_path="$(MPY_DIR)/extmod",
    opt=3,
)
module("uasyncio.py", base_path="$(MPY_DIR)/extmod/asyncio", opt=3)
freeze(".")

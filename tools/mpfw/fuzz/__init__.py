# SPDX-License-Identifier: MIT
"""`make fuzz`: inputs that nobody would write, from a seed, against the firmware's own code.

- classes.py: what a class of inputs is, and which there are, by level.
- cases.py: an input that failed, as a file.
- plan.py: how many inputs of which class, in batches, each with its own seed.
- session.py: runs the batches, in processes of their own, until all is done or one fails.
- report.py: the progress bar and the table.
- cli.py: the command.

Level "fast" (fast/) runs the modules without a machine: the expanded ones in MicroPython's unix
port, the sources in CPython beside them, and both must do the same. Level "real" runs the image in
QEMU behind a device that lies. Level "device" (device/) runs `mpfw device` before a guest that
lies.
"""

# SPDX-License-Identifier: MIT
"""Host side of the firmware: image builder, QEMU harness, the Makefile's commands.

Importing the package itself costs nothing: tools/bootstrap.py does so before anything is
installed.
"""

# SPDX-License-Identifier: MIT
"""What the build needs from outside: fetched, checked and locked; and it, tried on fresh machines.

Standard library only, but for commands.
"""

# SPDX-License-Identifier: MIT
"""`const` and `addressof` for modules that run under CPython as well as under MicroPython."""

try:
    from micropython import const
    from uctypes import addressof
except ImportError:
    from .portable import addressof, const

__all__ = ("addressof", "const")

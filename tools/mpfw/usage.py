# SPDX-License-Identifier: MIT
"""Examples in the help texts of commands. tests/documents runs every one of them."""


def examples(*lines: str) -> str:
    """The end of a command's help; a line is a command, two blanks or more, and what it does."""
    return "\n".join(["\b", "Examples:", *(f"  {line}" for line in lines)])

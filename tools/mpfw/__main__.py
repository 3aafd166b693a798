# SPDX-License-Identifier: MIT
"""`python3 -m mpfw`: the same command as the installed `mpfw`."""

from mpfw.cli import main

main(prog_name="mpfw")

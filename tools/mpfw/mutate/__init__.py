# SPDX-License-Identifier: MIT
"""Mutation testing of the firmware's modules: does a test notice when a line is wrong?

    mutants.py     what can be changed in a module, a small change at a time
    session.py     the unit tests in child processes: which ones reach a line, whether they notice
    equivalent.py  the table of changes that change nothing that anybody could see
    cli.py         the command `mpfw mutate`

Known tools do not fit: they change files of the source tree in place or run a module's copy with
other functions than it has, and the bench imports the modules in a way of its own.
"""

# SPDX-License-Identifier: MIT
"""The benchmark: the firmware against a Linux guest in C and against a bare-metal floor in C.

guests.py builds and boots them, client.py runs the host's measuring program against one,
plan.py says what is measured, results.py what it means; report.py and plots.py show it.
"""

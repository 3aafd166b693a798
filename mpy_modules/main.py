# SPDX-License-Identifier: MIT
"""Runs after boot.py, unless a host program holds the raw REPL: hands over to startup.py."""

import startup

startup.run(globals())

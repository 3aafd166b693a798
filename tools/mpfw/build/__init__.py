# SPDX-License-Identifier: MIT
"""What the build needs from outside: fetched, checked and locked. Standard library only."""

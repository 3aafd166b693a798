# SPDX-License-Identifier: MIT
"""The project's host-side tools. Importing the package loads nothing but this line."""

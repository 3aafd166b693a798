# SPDX-License-Identifier: MIT
"""`mpfw run`: a Python program in a guest, as `python` runs one here; and the conversation.

What is on the way of every run imports little: its start is part of every measurement.
"""

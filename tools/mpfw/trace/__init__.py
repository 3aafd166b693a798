# SPDX-License-Identifier: MIT
"""Captures of vsock told as conversations: who says what, what that leaves open, what is wrong."""

# SPDX-License-Identifier: MIT
"""The soak: clients that come, talk and go away, some in the middle, for as long as one likes.

inside.py runs in the guest, clients.py are the clients, watch.py is the guest as the host sees it,
cli.py the command.
"""

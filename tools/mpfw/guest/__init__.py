# SPDX-License-Identifier: MIT
"""A guest under QEMU: the machine, its console and QMP, the host's side of its vsock device.

guest.py runs it on this machine, host.py chooses the vsock device; the commands that boot an image
(run, smoke, boot-time, upstream) lie beside them.
"""

# SPDX-License-Identifier: MIT
"""The lab: a small Linux guest with the kernel's own vsock device, to run firmware guests in.

image.py makes what it boots, lab.py boots it, host.py runs firmware guests in it, shell.py is the
command.
"""

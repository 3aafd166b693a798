# SPDX-License-Identifier: MIT
"""The flash image: building it, taking it apart, checking it. Knows nothing of QEMU."""


class ImageError(Exception):
    """Something about the image or its inputs that the user can read and act on."""

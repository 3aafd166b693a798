# SPDX-License-Identifier: MIT
"""Capture files of vsock: pcapng with link type 271, for Wireshark, tshark and `mpfw trace`.

`Capture` writes them, `reader.read` reads them.
"""

from mpfw.capture.sinks import CaptureError
from mpfw.capture.writer import IN, OUT, Capture

__all__ = ["IN", "OUT", "Capture", "CaptureError"]

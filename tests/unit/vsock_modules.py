# SPDX-License-Identifier: MIT
"""The firmware's vsock package under CPython.

mpy_modules/ goes last on the path: it has modules named like CPython's own (socket).
"""

import sys
from pathlib import Path

MODULES = Path(__file__).resolve().parents[2] / "mpy_modules"
if str(MODULES) not in sys.path:
    sys.path.append(str(MODULES))

from vsock import connection, packet  # noqa: E402

__all__ = ["connection", "packet"]

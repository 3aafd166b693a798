# SPDX-License-Identifier: MIT
"""Where things lie in the source tree and under build/. Standard library only."""

import os
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
VENV_STAMP = ".mpfw-inputs"  # in a venv that tools/bootstrap.py has made


def _build() -> Path:
    """`make BUILD=...` says it; a program of its venv lies there."""
    said = os.environ.get("MPFW_BUILD")
    if said:
        return Path(said)
    venv = Path(sys.prefix)
    return venv.parent if (venv / VENV_STAMP).exists() else ROOT / "build"


BUILD = _build()
IMAGE = BUILD / "final_vsock.bin"
VENV = BUILD / "venv"
DEPS = BUILD / "deps"

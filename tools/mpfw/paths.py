# SPDX-License-Identifier: MIT
"""Where things lie in the source tree and under build/. Standard library only."""

from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
BUILD = ROOT / "build"
IMAGE = BUILD / "final_vsock.bin"
VENV = BUILD / "venv"
DEPS = BUILD / "deps"

# SPDX-License-Identifier: MIT
"""Where things lie: in the source tree and under build/, or, installed from a wheel, in the
package and the user's cache. Standard library only, but for the cache's place.
"""

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
VENV = BUILD / "venv"

# What a wheel brings along (mpfw.build.dist puts it there); a source tree has it elsewhere.
DATA = Path(__file__).resolve().parent / "data"
DEPS_MANIFEST = "deps.toml"
LAYOUT = "layout.toml"
IMAGE_NAME = "final_vsock.bin"
ORIGIN = "final_vsock.json"  # of which commit the image was built

IN_TREE = (ROOT / DEPS_MANIFEST).exists()
IMAGE = (BUILD if IN_TREE else DATA) / IMAGE_NAME
MODULES = (ROOT if IN_TREE else DATA) / "mpy_modules"  # the guest's; a wheel has some


def data(name: str, place: Path) -> Path:
    """The file of that name in the package, or where it is in a source tree."""
    return place / name if IN_TREE else DATA / name


def fetched() -> Path:
    """The directory for what is fetched when it is first needed."""
    if IN_TREE:
        return BUILD
    import platformdirs

    return Path(platformdirs.user_cache_path("mpfw"))

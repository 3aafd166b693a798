# SPDX-License-Identifier: MIT
"""Where things lie: in the source tree and under build/, or, installed from a wheel, in the
package and the user's cache. Standard library only, but for the cache's place.
"""

from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
BUILD = ROOT / "build"
VENV = BUILD / "venv"

# What a wheel brings along (mpfw.build.dist puts it there); a source tree has it elsewhere.
DATA = Path(__file__).resolve().parent / "data"
DEPS_MANIFEST = "deps.toml"
LAYOUT = "layout.toml"
IMAGE_NAME = "final_vsock.bin"
ORIGIN = "final_vsock.json"  # of which commit the image was built

IN_TREE = (ROOT / DEPS_MANIFEST).exists()
IMAGE = (BUILD if IN_TREE else DATA) / IMAGE_NAME


def data(name: str, place: Path) -> Path:
    """The file of that name in the package, or where it is in a source tree."""
    return place / name if IN_TREE else DATA / name


def fetched() -> Path:
    """The directory for what is fetched when it is first needed."""
    if IN_TREE:
        return BUILD
    import platformdirs

    return Path(platformdirs.user_cache_path("mpfw"))

# SPDX-License-Identifier: MIT
"""Of which commit an image was built: a file beside it says so. Standard library only."""

import hashlib
import json
import subprocess
from pathlib import Path

from mpfw import paths

_UNKNOWN = "unknown"


def record(image: Path) -> None:
    """Write down that an image, which was built just now, is of the source tree's commit."""
    said = {"commit": _tree_commit(), "sha256": _digest(image)}
    image.with_suffix(".json").write_text(json.dumps(said, indent=2) + "\n")


def commit(image: Path) -> str:
    """The commit that an image is of, with "-dirty" behind it if something was changed since;
    "unknown" if nobody has written it down."""
    try:
        said = json.loads(image.with_suffix(".json").read_text())
        known = said["sha256"] == _digest(image)
    except (OSError, ValueError, KeyError):
        return _UNKNOWN
    return str(said["commit"]) if known else _UNKNOWN


def _tree_commit() -> str:
    command = ["git", "describe", "--always", "--dirty", "--abbrev=40", "--exclude=*"]
    try:
        run = subprocess.run(
            command, cwd=paths.ROOT, capture_output=True, text=True, check=True, timeout=60
        )
        return run.stdout.strip()
    except (OSError, subprocess.SubprocessError):
        # A source distribution has no history, but an image that says where it is from.
        return commit(paths.DATA / paths.IMAGE_NAME)


def _digest(image: Path) -> str:
    with open(image, "rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()

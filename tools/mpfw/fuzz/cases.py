# SPDX-License-Identifier: MIT
"""An input that failed, as a file: `mpfw fuzz --repeat FILE` does the same once more."""

import json
import os
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from mpfw import paths

FOLDER = Path(os.environ.get("FUZZ_CASES") or paths.BUILD / "fuzz")


class CaseError(Exception):
    """The file is no case of ours: one sentence."""


@dataclass
class Case:
    """Which class failed, by what, and how.

    `input` is the class's own: all that it needs to do the same again, as JSON has it. `what` is
    one sentence, `detail` more of it for a person.
    """

    level: str
    name: str
    seed: int
    count: int
    what: str
    detail: str = ""
    input: dict[str, Any] = field(default_factory=dict)

    def save(self, folder: Path = FOLDER) -> Path:
        """Write the file; where it is."""
        folder.mkdir(parents=True, exist_ok=True)
        path = folder / f"{self.level}-{self.name}-{self.seed:x}.json"
        path.write_text(json.dumps(asdict(self), indent=1) + "\n", encoding="utf-8")
        return path


def load(path: Path) -> Case:
    """Read a file. Raises CaseError."""
    try:
        return Case(**json.loads(path.read_text(encoding="utf-8")))
    except OSError as error:
        raise CaseError(f"{path}: {error.strerror}") from error
    except (ValueError, TypeError) as error:
        raise CaseError(f"{path}: this is no case that mpfw fuzz has saved") from error

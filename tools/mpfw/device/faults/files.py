# SPDX-License-Identifier: MIT
"""Fault rules from a TOML file: `seed`, and a table [[fault]] for each rule."""

import tomllib
from pathlib import Path
from random import SystemRandom
from typing import Any

from mpfw.device.faults.injector import Injector
from mpfw.device.faults.rules import RuleError, from_mapping

_MOST_SEED = (1 << 63) - 1


def from_file(path: Path) -> Injector:
    """The rules of a file, ready. Raises RuleError."""
    try:
        found = tomllib.loads(path.read_text())
    except OSError as error:
        raise RuleError(f"{path}: {error.strerror}") from None
    except UnicodeDecodeError:
        raise RuleError(f"{path}: it is not text") from None
    except tomllib.TOMLDecodeError as error:
        raise RuleError(f"{path}: {error}") from None
    return from_tables(found, str(path))


def from_tables(found: dict[str, Any], where: str) -> Injector:
    """The rules in what TOML gives. `where` begins a RuleError."""
    for key in found:
        if key not in ("seed", "fault"):
            raise RuleError(
                f"{where}: no key {key!r}: there are seed and, for each rule, [[fault]]"
            )
    seed = found.get("seed")
    if seed is None:
        seed = new_seed()
    elif isinstance(seed, bool) or not isinstance(seed, int) or not 0 <= seed <= _MOST_SEED:
        raise RuleError(f"{where}: seed is {seed!r}: a whole number from 0 on it may be")
    tables = found.get("fault")
    if not isinstance(tables, list) or not tables:
        raise RuleError(f"{where}: there is no rule: each is a table below [[fault]]")
    injector = Injector(seed)
    for number, table in enumerate(tables, 1):
        at = f"{where}: rule {number}"
        if not isinstance(table, dict):
            raise RuleError(f"{at}: a rule is a table below [[fault]], not {table!r}")
        injector.rules.append(from_mapping(table, at, number, seed))
    return injector


def new_seed() -> int:
    """A seed that nobody has chosen; short, as somebody may have to type it."""
    return SystemRandom().randrange(1 << 32)

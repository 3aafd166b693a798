# SPDX-License-Identifier: MIT
"""All that is recorded: scenarios, dialogues, and the first generated sequences of a seed."""

from mpfw.differential import dialogues, scenarios
from mpfw.differential.dialogues import Dialogue
from mpfw.differential.generate import generate
from mpfw.differential.scenarios import HOST, LOOPBACK, Scenario

SEED = 1
SEQUENCES = {LOOPBACK: 200, HOST: 50}


def load(setting: str | None = None) -> list[Scenario]:
    """All of it, or that of one setting."""
    found = scenarios.load(wanted=setting) + dialogues.load(wanted=setting)
    for where in SEQUENCES:
        if setting in (None, where):
            found += sequences(where)
    return found


def sequences(setting: str) -> list[Dialogue]:
    """The sequences whose Linux outputs are in the tree."""
    return [
        Dialogue.of(f"sequences.{setting}_{index}", setting, generate(SEED, index, setting))
        for index in range(SEQUENCES[setting])
    ]

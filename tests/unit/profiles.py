# SPDX-License-Identifier: MIT
"""How much hypothesis tries: HYPOTHESIS_PROFILE says, `default`, `long` or `mutants`.

Each test says how many examples `long` has; `default` runs a share of them, so that `make unit`
takes a minute and a half. `make test-long` runs them all. `mutants` runs as many as `default`, the
same ones each time, and does not look for simpler ones: `mpfw mutate` only asks whether a test
fails.
"""

import os
from collections.abc import Callable
from typing import Any

from hypothesis import HealthCheck, Phase, settings
from hypothesis.stateful import RuleBasedStateMachine, run_state_machine_as_test

SHARES = {"default": 6, "long": 1, "mutants": 6}  # `default` tries one example of so many
PROFILE = os.environ.get("HYPOTHESIS_PROFILE") or "default"
FEWEST = 15


def load() -> None:
    """Make the chosen profile hypothesis's own."""
    for name, share in SHARES.items():
        settings.register_profile(
            name,
            max_examples=_share(100, share),
            deadline=None,
            suppress_health_check=list(HealthCheck),
            print_blob=True,
            phases=[each for each in Phase if each is not Phase.explain],  # slow
        )
    settings.register_profile(
        "mutants",
        settings.get_profile("mutants"),
        phases=[Phase.explicit, Phase.generate],
        derandomize=True,
        database=None,
    )
    settings.load_profile(PROFILE)


def examples(most: int) -> int:
    """How many examples a test tries that tries `most` in the profile `long`."""
    return _share(most, SHARES[PROFILE])


def run_machine(make: Callable[[], RuleBasedStateMachine], most: int, steps: int) -> None:
    """Run a state machine: `most` examples in the profile `long`, of so many steps each."""
    factory: Any = make  # its type says that it must be the class
    chosen = settings(max_examples=examples(most), stateful_step_count=steps)
    run_state_machine_as_test(factory, settings=chosen)


def _share(most: int, share: int) -> int:
    return min(most, max(FEWEST, most // share))


load()

# SPDX-License-Identifier: MIT
"""A level of `mpfw fuzz` for its tests: classes that do next to nothing."""

from mpfw.fuzz.cases import Case
from mpfw.fuzz.classes import FuzzClass, Outcome

SPOILT = 0xBAD  # a count that fails


class Runner:
    """Counts; the batch of SPOILT inputs fails."""

    def run(self, seed: int, count: int, measure: bool) -> Outcome:
        failure = None
        if count == SPOILT:
            failure = Case("small", "odd", seed, count, "it is odd", "in detail", {"n": 3})
        return Outcome(count, failure, {"fw_cfg.py": {1}} if measure else {})

    def repeat(self, case: Case) -> Outcome:
        return self.run(case.seed, case.count, False)

    def close(self) -> None:
        pass


CLASSES = [
    FuzzClass("even", "small", "what is even", Runner, share=3, batch=100),
    FuzzClass("odd", "small", "what is odd", Runner, batch=SPOILT, parallel=False),
]

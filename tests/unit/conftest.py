# SPDX-License-Identifier: MIT
"""The two engines of the unit tests: see engines.py."""

import profiles  # noqa: F401 (importing it tells hypothesis how much to try)
import pytest
from engines import ENGINES


@pytest.fixture(scope="session")
def engines():
    """Each engine, for the whole session."""
    made = {name: kind() for name, kind in ENGINES.items()}
    yield made
    for engine in made.values():
        engine.close()


@pytest.fixture(params=ENGINES)
def engine(request, engines):
    """The one that a test runs with: each test runs with both."""
    return engines[request.param]


@pytest.fixture
def expanded(engines):
    """What is frozen, for what only that can show."""
    return engines["expanded"]

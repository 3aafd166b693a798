# SPDX-License-Identifier: MIT
"""Floods: the prompt computes, Ctrl-C works, another peer's connection goes on (`mpfw floods`)."""

import pytest

from mpfw.bench.floods import flood
from mpfw.device import floods


@pytest.mark.alone
@pytest.mark.parametrize("kind", floods.KINDS)
def test_a_flood_is_borne(image, kind):
    borne = flood(kind, "64M", 1, image)
    assert borne.rate > 10
    assert borne.share > 0
    assert len(borne.echo) == (0 if kind == floods.EVENTS else len(borne.prompt))

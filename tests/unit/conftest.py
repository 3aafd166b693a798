# SPDX-License-Identifier: MIT
"""What hypothesis does here: a machine that is busy with something else fails no test."""

from hypothesis import settings

settings.register_profile("busy machine", deadline=None)
settings.load_profile("busy machine")

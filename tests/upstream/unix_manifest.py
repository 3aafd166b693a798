# SPDX-License-Identifier: MIT
"""What the unix port freezes when its totals are taken: asyncio, as the firmware does."""

include("$(MPY_DIR)/extmod/asyncio")

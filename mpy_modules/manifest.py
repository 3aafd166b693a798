# SPDX-License-Identifier: MIT
# What is frozen into the firmware: every module of this directory, and upstream's asyncio.
include("$(MPY_DIR)/extmod/asyncio")
freeze(".")

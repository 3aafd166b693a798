# SPDX-License-Identifier: MIT
"""The house rules, checked on the source: which way imports point, that a fact stands once, sizes.

Each rule is a module with its tables at the top and a function `check(tree)` that gives Findings.
"""

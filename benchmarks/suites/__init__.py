# SPDX-License-Identifier: MIT
"""The suites, in the order in which they run and are reported.

A new suite is a module here with a SUITE of its own, named below; what it measures is its business,
and it returns tables, verdicts and raw figures (core/report.py). HTTP loads can be had whole from
core/rounds.py and core/comparison.py.
"""

from __future__ import annotations

from benchmarks.suites import idle, memory, plaintext, starlette, start

SUITES = {module.SUITE.name: module.SUITE for module in (plaintext, starlette, idle, memory, start)}

# SPDX-License-Identifier: MIT
"""The suites, in the order in which they run and are reported.

A new suite is a module here with a SUITE of its own, named below; what it measures is its business,
and it returns tables, verdicts and raw figures (core/report.py). HTTP loads can be had whole from
core/rounds.py and core/comparison.py, calls to pools of processes from dirty/rounds.py and
dirty/tables.py.
"""

from __future__ import annotations

from benchmarks.suites import (
    dirty_calls,
    dirty_codec,
    dirty_memory,
    dirty_payloads,
    dirty_stash,
    dirty_streams,
    http2,
    http2_profiles,
    idle,
    memory,
    plaintext,
    starlette,
    start,
    websocket,
    workers,
)

DIRTY = (dirty_calls, dirty_payloads, dirty_streams, dirty_stash, dirty_memory, dirty_codec)
SUITES = {
    module.SUITE.name: module.SUITE
    for module in (
        plaintext,
        starlette,
        http2,
        http2_profiles,
        websocket,
        idle,
        memory,
        start,
        workers,
        *DIRTY,
    )
}
#: Names on the command line that stand for several suites.
GROUPS = {"dirty": [module.SUITE.name for module in DIRTY]}

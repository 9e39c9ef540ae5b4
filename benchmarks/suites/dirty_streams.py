# SPDX-License-Identifier: MIT
"""Generators: chunks a second, and how soon the first one comes."""

from __future__ import annotations

from typing import TYPE_CHECKING

from benchmarks.core.report import Findings
from benchmarks.core.suite import Suite
from benchmarks.dirty.contenders import GUNICORN, US
from benchmarks.dirty.rounds import Workload, extent, raw, run_rounds
from benchmarks.dirty.tables import at_least, at_most, pool_table

if TYPE_CHECKING:
    from collections.abc import Sequence

    from benchmarks.core.options import Options
    from benchmarks.core.servers import Server

POOLS = [US, "trioserve-relayed", "trioserve-blocking", *GUNICORN]
# "Not held back by batching": the first chunk is there as soon as a result would be, and half as
# much again for what a stream has to begin.
PROMPT = 1.5
KINDS = (("chunks", "a generator"), ("achunks", "an async generator"))
SIZES = ((20, "20 B", 5), (65536, "64 KiB", 2))


def _stream(action: str, words: str, size: int, amount: str) -> Workload:
    command = {"kind": "stream", "action": action, "size": size}
    return Workload(f"{action}-{size}", f"Chunks of {amount} from {words}", command, POOLS)


def _first(action: str, words: str) -> Workload:
    command = {"kind": "first", "action": action, "size": 20}
    return Workload(f"first-{action}", f"The first chunk of {words}", command, POOLS)


STREAMS = [
    _stream(action, words, size, amount) for size, amount, _ in SIZES for action, words in KINDS
]
FIRST = [_first("late", KINDS[0][1]), _first("alate", KINDS[1][1])]
ECHO = Workload(
    "echo", "An echo of 20 B, to compare with", {"kind": "paused", "value": "20 B"}, POOLS
)


def run(options: Options, servers: Sequence[Server]) -> Findings:
    """Measures streams of both kinds of generators and both sizes, and first chunks."""
    rounds = run_rounds(servers, [*STREAMS, *FIRST, ECHO], options)
    verdicts = [
        at_least(
            rounds,
            f"{action}-{size}",
            f"chunks of {amount} from {words}: ≥ {bound} x gunicorn's best",
            [US],
            GUNICORN,
            bound,
        )
        for size, amount, bound in SIZES
        for action, words in KINDS
    ]
    verdicts += [
        at_most(
            rounds,
            workload.name,
            f"the first chunk of {words} after ≤ {PROMPT} x an echo's p50",
            [US],
            [],
            PROMPT,
            of=ECHO.name,
        )
        for workload, (_, words) in zip(FIRST, KINDS, strict=True)
    ]
    streams = [
        pool_table(workload, servers, rounds, ("per_second", "cpu_us"), things="chunks")
        for workload in STREAMS
    ]
    firsts = [pool_table(workload, servers, rounds, ("p50_ms",)) for workload in (*FIRST, ECHO)]
    return Findings(extent(options), [*streams, *firsts], verdicts, raw(rounds))


SUITE = Suite(
    name="dirty_streams",
    title="Dirty pool: streams",
    about=(
        "One stream at a time, each chunk the same bytes, read by one task or thread that drops"
        " them; as many chunks as take a load's seconds. The first chunk is timed from the call on,"
        " of streams whose second chunk comes 5 ms later; the echo it is compared with is made at"
        " the same pace. x is `trioserve, def` divided by the pool of that row. For gunicorn, the"
        " better of its two clients in each round is the one to beat."
    ),
    servers=tuple(POOLS),
    run=run,
)

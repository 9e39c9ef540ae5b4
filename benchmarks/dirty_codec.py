# SPDX-License-Identifier: MIT
"""The dirty wire's codec against gunicorn's, on the same values and frames.

Run by a Python that has both, for a table on its own: `.venv-bench/bin/python -m
benchmarks.dirty_codec`. ``measure`` and ``rows`` are for a suite that reports the same.

Both codecs make the same bytes, which is asserted first. In every round they take turns, a burst of
calls each. Garbage collection is off during a burst, as timeit has it.

What is timed: a value's encoding, ours as parts for sendmsg, so that large bytes are not copied;
the decoding of bytes that are in memory; for frames the header, too. gunicorn gives a dict,
ours goes on to a Request or a result.
"""

from __future__ import annotations

import argparse
import functools
import gc
import random
import sys
import time
from dataclasses import dataclass
from pathlib import Path
from statistics import median
from typing import TYPE_CHECKING, Any

if __name__ == "__main__":
    sys.path[0] = str(Path(__file__).resolve().parent.parent)

from gunicorn.dirty.protocol import BinaryProtocol
from gunicorn.dirty.tlv import TLVEncoder

from trioserve.dirty import frames, tlv

if TYPE_CHECKING:
    from collections.abc import Callable

COLUMNS = ("what", "way", "trioserve µs", "gunicorn µs", "ratio")
ROUNDS = 5
BURST_SECONDS = 0.02


@dataclass(frozen=True, slots=True)
class Contest:
    """One thing that both do.

    Attributes:
        what, way: its name, and "encode" or "decode".
        trioserve, gunicorn: what is timed.
    """

    what: str
    way: str
    trioserve: Callable[[], Any]
    gunicorn: Callable[[], Any]


@dataclass(frozen=True, slots=True)
class Result:
    """Microseconds a call, a figure a round; ``ratio`` is gunicorn's over ours: above 1 is better.

    The machine drifts, so a ratio is formed within a round, and ``ratio`` is the median of those.
    """

    what: str
    way: str
    trioserve: list[float]
    gunicorn: list[float]

    @property
    def ratio(self) -> float:
        return median(
            theirs / ours for ours, theirs in zip(self.trioserve, self.gunicorn, strict=True)
        )


def values() -> dict[str, Any]:
    """The shapes of values, by name."""
    rng = random.Random(20)
    return {
        "dict of 20 mixed fields": {
            **{f"name_{number}": f"value {number}" for number in range(6)},
            **{f"count_{number}": number * 1000 for number in range(5)},
            **{f"ratio_{number}": number / 2 for number in range(4)},
            "enabled": True,
            "hidden": False,
            "parent": None,
            "digest": b"0123456789abcdef",
            "tags": ["a", "b", "c"],
        },
        "list of 1,536 floats": [rng.random() for _ in range(1536)],
        "list of 1,000 ints": [rng.randrange(-(10**6), 10**12) for _ in range(1000)],
        "list of 100 dicts": [
            {
                "id": number,
                "name": f"user {number}",
                "score": number / 4,
                "active": number % 2 == 0,
                "email": f"user{number}@example.org",
            }
            for number in range(100)
        ],
        "list of 100 strs": [f"word {number}" for number in range(100)],
        "1 MiB bytes": rng.randbytes(1024 * 1024),
    }


def contests() -> list[Contest]:
    """All that is compared."""
    found = []
    for what, value in values().items():
        data = tlv.encode(value)
        assert data == TLVEncoder.encode(value)
        found += [
            Contest(
                what,
                "encode",
                functools.partial(tlv.encode_parts, value),
                functools.partial(TLVEncoder.encode, value),
            ),
            Contest(
                what,
                "decode",
                functools.partial(tlv.decode, data),
                functools.partial(TLVEncoder.decode_full, data),
            ),
        ]
    text = "abcdefghij0123456789"
    for what, args in {
        "REQUEST frame, 20 B": (text,),
        "REQUEST frame, 3 args": (text, 42, 0.5),
        "REQUEST frame, 1 MiB": (bytes(1024 * 1024),),
    }.items():
        found += _request_contests(what, args)
    for what, result in {
        "RESPONSE frame, 20 B": text,
        "RESPONSE frame, 1 MiB": bytes(1024 * 1024),
    }.items():
        found += _response_contests(what, result)
    return found


def _request_contests(what: str, args: tuple[Any, ...]) -> list[Contest]:
    call: tuple[Any, ...] = (1, "app.ml:Model", "predict", args, {})
    data = b"".join(frames.request(*call))
    reader = frames.FrameReader()
    assert data == BinaryProtocol.encode_request(*call)
    return [
        Contest(
            what,
            "encode",
            functools.partial(frames.request, *call),
            functools.partial(BinaryProtocol.encode_request, *call),
        ),
        Contest(
            what,
            "decode",
            lambda: frames.decode_request(reader.feed(data)[0][2]),
            functools.partial(BinaryProtocol.decode_message, data),
        ),
    ]


def _response_contests(what: str, result: Any) -> list[Contest]:
    data = b"".join(frames.response(1, result))
    reader = frames.FrameReader()
    assert data == BinaryProtocol.encode_response(1, result)
    return [
        Contest(
            what,
            "encode",
            functools.partial(frames.response, 1, result),
            functools.partial(BinaryProtocol.encode_response, 1, result),
        ),
        Contest(
            what,
            "decode",
            lambda: frames.decode_result(reader.feed(data)[0][2]),
            functools.partial(BinaryProtocol.decode_message, data),
        ),
    ]


def measure(rounds: int = ROUNDS, burst_seconds: float = BURST_SECONDS) -> list[Result]:
    """Times everything.

    Args:
        rounds: turns of each.
        burst_seconds: about how long each turn takes.
    """
    found = contests()
    results = [Result(contest.what, contest.way, [], []) for contest in found]
    for number in range(rounds):
        for contest, result in zip(found, results, strict=True):
            turns = [
                (contest.trioserve, result.trioserve),
                (contest.gunicorn, result.gunicorn),
            ]
            for function, figures in turns[:: 1 if number % 2 else -1]:
                figures.append(_burst(function, burst_seconds))
    return results


def _burst(function: Callable[[], Any], seconds: float) -> float:
    """Microseconds a call."""
    function()
    start = time.perf_counter()
    function()
    calls = max(3, int(seconds / max(time.perf_counter() - start, 1e-6)))
    gc.collect()
    gc.disable()
    try:
        start = time.perf_counter()
        for _ in range(calls):
            function()
        return (time.perf_counter() - start) / calls * 1e6
    finally:
        gc.enable()


def rows(results: list[Result]) -> list[list[str]]:
    """The results as a table's rows, for COLUMNS."""
    return [
        [
            result.what,
            result.way,
            f"{median(result.trioserve):,.1f}",
            f"{median(result.gunicorn):,.1f}",
            f"{result.ratio:,.1f}",
        ]
        for result in results
    ]


def main() -> None:
    """Prints the table."""
    parser = argparse.ArgumentParser(description="The dirty wire's codec against gunicorn's.")
    parser.add_argument("--rounds", type=int, default=ROUNDS, help="turns of each (%(default)s)")
    parser.add_argument(
        "--burst", type=float, default=BURST_SECONDS, help="seconds a turn (%(default)s)"
    )
    options = parser.parse_args()
    print("| " + " | ".join(COLUMNS) + " |")
    print("| --- | --- | ---: | ---: | ---: |")
    for row in rows(measure(max(3, options.rounds), options.burst)):
        print("| " + " | ".join(row) + " |")


if __name__ == "__main__":
    main()

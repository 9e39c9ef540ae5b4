# SPDX-License-Identifier: MIT
"""The border to kosoku, which has the cases and plays the client.

It changes ``binascii`` and ``sys.path`` of the process that it runs in, so no test calls this:
they start the command (:mod:`.autobahn`). Its future needs a loop of asyncio, and its threads are
its own.
"""

from __future__ import annotations

import asyncio
import re
from itertools import islice
from typing import TYPE_CHECKING, Any, Final

from kosoku import FailureError, run_fuzzingclient
from kosoku._report import write_reports  # which its command has, but its module doesn't

from tests.conformance.verdicts import Verdict, kind_of, number_of

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence
    from pathlib import Path

    from kosoku._kosoku import CaseResult

__all__ = ["run_cases"]

#: Of what a message had in it, or of a list of them: more says no more.
_WIDTH: Final = 200
_LINES: Final = 40
#: Left out of the wire's log: writes and reads. What remains are the client's frames (TF) and the
#: server's (RF), as length, payload, opcode, FIN, RSV and so on, and timers.
_OCTETS: Final = frozenset({"TO", "RO"})


def run_cases(
    port: int,
    cases: Sequence[str],
    exclude: Sequence[str],
    *,
    concurrency: int,
    timeout: float,
    report: Path | None = None,
) -> list[Verdict]:
    """Plays the cases against a server on this machine.

    Args:
        cases: numbers of cases or patterns, as ``9.*``; all of them if there is none.
        exclude: the same, of those to leave out.
        concurrency: how many of them are played at a time.
        timeout: seconds. Most cases wait for a server's Close frame as long as it takes.
        report: a folder for the suite's own pages (``index.html``).

    Raises:
        ValueError: one of ``cases`` names no case.
        TimeoutError: a case hasn't ended; nothing is told of the others.
    """
    results = asyncio.run(_run(port, cases, exclude, concurrency, timeout))
    if report is not None:
        write_reports(results, str(report))
    return sorted(map(_verdict, results), key=lambda verdict: number_of(verdict.case))


async def _run(
    port: int, cases: Sequence[str], exclude: Sequence[str], concurrency: int, timeout: float
) -> list[CaseResult]:
    url = f"ws://127.0.0.1:{port}/"
    try:
        async with asyncio.timeout(timeout):
            return await run_fuzzingclient(url, list(cases), list(exclude), concurrency)
    except FailureError as failure:  # with all results, of those that passed, too
        return failure.results


def _verdict(result: CaseResult) -> Verdict:
    return Verdict(
        case=result.case_id,
        kind=kind_of(result.behavior.value, result.behavior_close.value),
        description=_plain(result.description),
        expectation=_plain(result.expectation),
        details=tuple(_details(result)),
    )


def _details(result: CaseResult) -> Iterable[str]:
    yield f"messages {result.behavior.value}: {result.result}"
    yield f"close {result.behavior_close.value}: {result.result_close}"
    for name, events in (result.expected or {}).items():
        yield f"would be {name}: {_short(events)}"
    yield f"came: {_short(result.received)}"
    yield f"close expected: {_short(result.expected_close)}"
    ours = (result.local_close_code, result.local_close_reason)
    yield f"client's close: {_short(ours)}, first: {result.closed_by_me}"
    yield f"server's close: {_short((result.remote_close_code, result.remote_close_reason))}"
    yield f"clean: {result.was_clean}, lost: {result.dropped_by_me}, {result.duration} ms"
    frames = (entry for entry in result.wirelog if entry[0] not in _OCTETS)
    yield from map(_short, islice(frames, _LINES))


def _plain(text: str) -> str:
    """The suite's prose, which has some HTML in it, in one line."""
    return " ".join(re.sub(r"<[^>]*>", " ", text).split())


def _short(value: Any) -> str:
    text = str(value)
    return text if len(text) <= _WIDTH else f"{text[:_WIDTH]} … ({len(text)} characters)"

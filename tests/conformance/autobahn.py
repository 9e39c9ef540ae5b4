# SPDX-License-Identifier: MIT
"""The Autobahn test suite against a server of ours: ``python -m tests.conformance.autobahn``.

The suite's cases by way of kosoku; docs/websocket_conformance.md says what comes of them.
"""

from __future__ import annotations

import argparse
import os
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING, Final

from tests.conformance.known import ENGINES, KNOWN_NON_STRICT
from tests.conformance.report import render
from tests.conformance.suite import run_cases
from tests.conformance.verdicts import wrong
from tests.server_process import serving

if TYPE_CHECKING:
    from collections.abc import Sequence

__all__ = ["main"]

#: A case takes the server's ping for a message that it didn't expect, and is over.
OPTIONS: Final = ("--websocket-ping-interval", "0", "--websocket-compression", "on")


def main(arguments: Sequence[str]) -> int:
    """Runs the cases over one engine after the other.

    Returns:
        0 if each case is OK, INFORMATIONAL, or NON-STRICT and known as such; 1 if not, or if the
        server has logged an error; 2 if no such case exists.
    """
    parsed = _parser().parse_args(arguments)
    results = [_run_engine(engine, parsed) for engine in parsed.engine or ENGINES]
    return max(results)


def _run_engine(engine: str, parsed: argparse.Namespace) -> int:
    known = KNOWN_NON_STRICT[engine]
    options = ("--websocket-engine", engine, *OPTIONS)
    started = time.monotonic()
    with serving("echo_app:app", *options, app_dir=Path(__file__).parent) as server:
        report = parsed.report and parsed.report / engine
        try:
            verdicts = run_cases(
                server.port,
                parsed.cases,
                parsed.exclude,
                concurrency=parsed.concurrency,
                timeout=parsed.timeout,
                report=report,
            )
        except ValueError as exc:
            print(f"autobahn: {exc}", file=sys.stderr)
            return 2
        except TimeoutError:
            print(f"{engine}: a case hasn't ended in {parsed.timeout:.0f} s", file=sys.stderr)
            return 1
        seconds = time.monotonic() - started
        code = server.stop()
    print(f"{engine}: {len(verdicts)} cases in {seconds:.0f} s\n\n{render(verdicts, known)}\n")
    complaints = [line for line in server.stderr.lines if "] [INFO] " not in line]
    if complaints:
        print("The server's log:", *complaints[:100], sep="\n")
    if code:
        print(f"The server ended with {code}.")
    sys.stdout.flush()  # the next engine takes minutes
    return int(bool(wrong(verdicts, known) or complaints or code or not verdicts))


def _parser() -> argparse.ArgumentParser:
    def numbers(text: str) -> list[str]:
        return text.split(",")

    parser = argparse.ArgumentParser("python -m tests.conformance.autobahn", description=__doc__)
    add = parser.add_argument
    add("--engine", action="append", choices=ENGINES, help="one only (or give it several times)")
    add("--cases", type=numbers, default=[], help="numbers or patterns: 1.*,2.5 (default: all)")
    add("--exclude", type=numbers, default=[], help="the same, of those to leave out")
    add("--concurrency", type=int, default=8, help="cases that are played at a time")
    add("--timeout", type=float, default=1800, help="seconds, for all cases over an engine")
    add("--report", type=Path, help="a folder for the suite's pages, one each engine")
    return parser


if __name__ == "__main__":
    result = main(sys.argv[1:])
    sys.stdout.flush()
    sys.stderr.flush()
    # kosoku's threads are still there, and abort an interpreter that winds down (134) now and then.
    os._exit(result)

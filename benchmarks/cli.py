# SPDX-License-Identifier: MIT
"""The command line: which suites, how much, where the results go."""

from __future__ import annotations

import argparse
import dataclasses
import itertools
import resource
import signal
import sys
from pathlib import Path
from typing import TYPE_CHECKING

from benchmarks.core import cores
from benchmarks.core.environment import missing_tool
from benchmarks.core.options import QUICK, Options
from benchmarks.core.report import render
from benchmarks.core.results import conditions, keep, preamble
from benchmarks.core.servers import LIBRARIES, SERVERS
from benchmarks.dirty.contenders import POOLS
from benchmarks.suites import GROUPS, SUITES

if TYPE_CHECKING:
    from collections.abc import Sequence

    from benchmarks.core.suite import Suite

RESULTS = Path(__file__).with_name("RESULTS.md")
# What --servers picks among: some suites measure servers, some pools of processes.
CHOICE = SERVERS | LIBRARIES | POOLS


def main(arguments: Sequence[str]) -> int:
    """Runs the suites asked for.

    Returns:
        0 when they ran, whatever they found; 2 when they could not; 130 after SIGINT or SIGTERM.
        Results of the suites that ended are kept even then.
    """
    parsed = parser().parse_args(arguments)
    options = sizes(parsed)
    names = list(itertools.chain(*parsed.suites) if parsed.suites else SUITES)
    missing = missing_tool(tool for name in names for tool in SUITES[name].tools)
    if missing:
        print(missing, file=sys.stderr)
        return 2
    # Both ways to be stopped unwind the stack, and with it end the servers.
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    raise_file_limit(options.idle_connections)
    if cores.SERVER_CORE == cores.LOAD_CORE:
        print("benchmarks: one core only; servers and load share it", file=sys.stderr)
    cores.pin_load()
    try:
        for name in names:
            run_suite(SUITES[name], options, parsed.servers, parsed.output)
    except KeyboardInterrupt:
        print("benchmarks: stopped", file=sys.stderr)
        return 130
    return 0


def parser() -> argparse.ArgumentParser:
    """Builds the parser of the command line."""
    default = Options()
    result = argparse.ArgumentParser(
        prog="benchmarks/run.py", description="Measures trioserve beside its peers."
    )
    result.add_argument(
        "suites",
        nargs="*",
        metavar="SUITE",
        type=suite_names,
        help=f"of {', '.join(SUITES)}; or {', '.join(GROUPS)}, all of that kind; all",
    )
    result.add_argument("--rounds", type=positive, help=f"turns a server ({default.rounds})")
    result.add_argument(
        "--seconds", type=positive, help=f"of each load; dirty ones are shorter ({default.seconds})"
    )
    result.add_argument("--connections", type=positive, help="of the idle suite (10,000)")
    result.add_argument(
        "--servers", type=server_names, metavar="A,B", help=f"of {', '.join(CHOICE)}"
    )
    result.add_argument(
        "--output",
        type=Path,
        metavar="FILE.md",
        help="where the sections and, beside it, results.json go (benchmarks/RESULTS.md;"
        " with --quick: nowhere)",
    )
    result.add_argument(
        "--quick", action="store_true", help="a small run that tries the harness out"
    )
    return result


def sizes(parsed: argparse.Namespace) -> Options:
    """Turns flags into Options; resolves where the results go."""
    if parsed.output is None and not parsed.quick:
        parsed.output = RESULTS
    flags = {
        "rounds": parsed.rounds,
        "seconds": parsed.seconds,
        "idle_connections": parsed.connections,
    }
    given = {name: value for name, value in flags.items() if value is not None}
    return dataclasses.replace(QUICK if parsed.quick else Options(), **given)


def suite_names(text: str) -> list[str]:
    if text in GROUPS:
        return GROUPS[text]
    if text not in SUITES:
        known = ", ".join([*SUITES, *GROUPS])
        raise argparse.ArgumentTypeError(f"no suite {text!r}; there are {known}")
    return [text]


def server_names(text: str) -> list[str]:
    names = text.split(",")
    for name in names:
        if name not in CHOICE:
            raise argparse.ArgumentTypeError(f"no server {name!r}; there are {', '.join(CHOICE)}")
    return names


def positive(text: str) -> int:
    number = int(text)
    if number < 1:
        raise argparse.ArgumentTypeError(f"expected 1 or more, got {number}")
    return number


def raise_file_limit(connections: int) -> None:
    """Lets this process and its children open a socket a connection, as far as it may."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = connections + 1_000
    if soft >= wanted:
        return
    reachable = wanted if hard == resource.RLIM_INFINITY else min(wanted, hard)
    resource.setrlimit(resource.RLIMIT_NOFILE, (reachable, hard))
    if reachable < wanted:
        print(
            f"benchmarks: the limit of open files is {reachable}, idle needs more", file=sys.stderr
        )


def run_suite(
    suite: Suite, options: Options, names: Sequence[str] | None, output: Path | None
) -> None:
    """Measures one suite, prints its section, and keeps it when there is an output.

    A suite none of whose servers were asked for is left out, as is its section.
    """
    servers = [CHOICE[name] for name in suite.servers if names is None or name in names]
    if not servers:
        print(f"benchmarks: {suite.name} measures none of these servers", file=sys.stderr)
        return
    taken = conditions(options)
    findings = suite.run(options, servers)
    section = render(suite.title, preamble(suite, taken, findings.extent), findings)
    print("\n" + section, flush=True)
    if output is not None:
        keep(output, suite.name, section, taken | {"results": findings.raw}, list(SUITES))

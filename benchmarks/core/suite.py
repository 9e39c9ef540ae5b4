# SPDX-License-Identifier: MIT
"""What a suite is to the command line."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from benchmarks.core.options import Options
    from benchmarks.core.report import Findings
    from benchmarks.core.servers import Server


@dataclass(frozen=True, slots=True)
class Suite:
    """One group of measurements with its section in RESULTS.md.

    Attributes:
        name: on the command line, in markers and in results.json.
        about: the section's first paragraph: what is measured, how.
        servers: names of those it can measure; --servers picks among them.
        run: measures; a server that fails is part of its findings, not an exception.
        tools: load generators that have to be installed.
    """

    name: str
    title: str
    about: str
    servers: tuple[str, ...]
    run: Callable[[Options, Sequence[Server]], Findings]
    tools: tuple[str, ...] = ("wrk",)

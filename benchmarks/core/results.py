# SPDX-License-Identifier: MIT
"""Keeps results: RESULTS.md for people, results.json for machines."""

from __future__ import annotations

import dataclasses
import datetime
import json
from typing import TYPE_CHECKING, Any

from benchmarks.core.machine import machine, versions
from benchmarks.core.report import merge

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from benchmarks.core.options import Options
    from benchmarks.core.suite import Suite


def conditions(options: Options) -> dict[str, Any]:
    """Gathers when, on what and of what size the measurement was; JSON-ready."""
    return {
        "date": datetime.datetime.now(datetime.UTC).strftime("%Y-%m-%d %H:%M UTC"),
        "machine": machine(),
        "versions": versions(),
        "options": dataclasses.asdict(options),
    }


def preamble(suite: Suite, taken: dict[str, Any], extent: str) -> str:
    """Says what was measured, when, on what."""
    place = taken["machine"]
    packages = ", ".join(f"{name} {version}" for name, version in taken["versions"].items())
    return (
        f"{suite.about}\n\nMeasured {taken['date']}, {extent}; cores: {place['cores']}"
        f" ({place['cpu']}), {place['system']}, {place['python']}; {packages}."
    )


def keep(
    output: Path, name: str, section: str, record: dict[str, Any], order: Sequence[str]
) -> None:
    """Replaces one suite's section of the report and its raw figures in results.json beside it.

    Args:
        order: names of all suites, as the report has them.
    """
    existing = output.read_text() if output.exists() else ""
    write(output, merge(existing, {name: section}, order))
    figures = output.with_name("results.json")
    everything = json.loads(figures.read_text()) if figures.exists() else {}
    write(figures, json.dumps(everything | {name: record}, indent=1) + "\n")


def write(path: Path, text: str) -> None:
    """Writes whole or not at all."""
    draft = path.with_name(path.name + ".new")
    draft.write_text(text)
    draft.replace(path)

# SPDX-License-Identifier: MIT
"""What ``trioservectl top`` shows, made of statuses. Pure: rich lays it out, nothing is written."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from rich.console import Group
from rich.table import Table
from rich.text import Text

from trioserve.control.output import latency_text, printable, worker_count_text
from trioserve.text_tables import shown, size_text, time_text

if TYPE_CHECKING:
    from rich.console import RenderableType

    from trioserve.control.rates import Rates

__all__ = ["make_lost_screen", "make_screen"]


def make_screen(status: Mapping[str, Any], rates: Rates) -> RenderableType:
    """The screen of a server that answers."""
    parts: list[RenderableType] = [_heading(status), Text(), _facts(status, rates), Text()]
    parts.append(_workers(status, rates))
    if status.get("dirty"):
        parts += [Text(), _dirty(status["dirty"])]
    return Group(*parts)


def make_lost_screen(reason: str, seconds: float) -> RenderableType:
    """The screen of a server that has gone."""
    return Group(
        Text.assemble(("The server does not answer", "bold red"), f" for {time_text(seconds)}"),
        Text(printable(reason)),
        Text(),
        Text("Trying again each second. q quits.", "dim"),
    )


def _line(*parts: str | tuple[str, str]) -> Text:
    return Text.assemble(*parts, no_wrap=True, overflow="ellipsis")


def _heading(status: Mapping[str, Any]) -> Text:
    phase = shown(status.get("phase"))
    return _line(
        (f"trioserve {printable(shown(status.get('version')))}", "bold"),
        f"  pid {shown(status.get('pid'))}  ",
        (phase, "green" if phase == "serving" else "yellow"),
        f" {time_text(status.get('uptime'))}  {printable(shown(status.get('app')))}  ",
        ("q quits", "dim"),
        "\n",
        printable("  ".join(status.get("addresses") or ())),
    )


def _facts(status: Mapping[str, Any], rates: Rates) -> RenderableType:
    stats = status.get("stats") or {}
    requests = "-" if rates.requests is None else f"{rates.requests:,.1f}"
    latencies = "   ".join(
        f"p{share * 100:g} {latency_text(latency)}" for share, latency in rates.latencies.items()
    )
    grid = Table.grid(padding=(0, 2))
    grid.add_column(style="cyan", no_wrap=True)
    grid.add_column(no_wrap=True, overflow="ellipsis")
    grid.add_row("requests/s", requests)
    grid.add_row("latency", latencies)
    grid.add_row(
        "open",
        f"connections {shown(stats.get('connections'))}   in flight {shown(stats.get('in_flight'))}"
        f"   WebSockets {shown(stats.get('websockets'))}",
    )
    grid.add_row("workers", worker_count_text(status))
    return grid


_STATES = {"serving": "green", "starting": "cyan", "draining": "cyan", "silent": "red"}


def _table(*columns: str) -> Table:
    """A table whose first and STATE columns are text, and the others numbers."""
    table = Table(box=None, padding=(0, 2, 0, 0), header_style="bold", pad_edge=False)
    for number, column in enumerate(columns):
        table.add_column(
            column,
            justify="left" if number == 0 or column == "STATE" else "right",
            no_wrap=True,
            overflow="ellipsis",
        )
    return table


def _workers(status: Mapping[str, Any], rates: Rates) -> Table:
    table = _table(
        "WORKER", "PID", "STATE", "REQ/S", "REQUESTS", "CONN", "BUSY", "MEMORY", "UPTIME"
    )
    for worker in status.get("workers") or ():
        state = shown(worker.get("state"))
        rate = rates.by_worker.get(worker.get("pid"))
        table.add_row(
            shown(worker.get("number")),
            shown(worker.get("pid")),
            Text(state, _STATES.get(state, "red")),
            "-" if rate is None else f"{rate:,.1f}",
            shown(worker.get("requests")),
            shown(worker.get("connections")),
            shown(worker.get("in_flight")),
            size_text(worker.get("rss")),
            time_text(worker.get("uptime")),
        )
    return table


def _dirty(dirty: Mapping[str, Any]) -> RenderableType:
    apps = dirty.get("apps")
    apps = apps if isinstance(apps, Mapping) else {}
    workers = _table("DIRTY", "PID", "STATE", "RUNNING", "CALLS", "ERRORS", "MEMORY", "UPTIME")
    for worker in dirty.get("workers") or ():
        state = "draining" if worker.get("draining") else "serving"
        if worker.get("silent") or not worker.get("booted"):
            state = "silent" if worker.get("booted") else "starting"
        workers.add_row(
            shown(worker.get("age")),
            shown(worker.get("pid")),
            Text(state, _STATES[state]),
            shown(worker.get("running")),
            shown(sum((worker.get("calls") or {}).values())),
            shown(worker.get("errors")),
            size_text(worker.get("rss")),
            time_text(worker.get("uptime")),
        )
    queues = _table("APP", "QUEUED", "RUNNING", "CALLS", "ERRORS", "TIMEOUTS")
    for path, app in sorted(apps.items()):
        queues.add_row(
            printable(path),
            *(shown(app.get(key)) for key in ("queued", "running", "calls", "errors", "timeouts")),
        )
    return Group(workers, Text(), queues)

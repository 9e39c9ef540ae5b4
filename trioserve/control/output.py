# SPDX-License-Identifier: MIT
"""What ``trioservectl`` prints: the server as tables, what was done in a sentence. Pure."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from trioserve.control.rates import quantile
from trioserve.pool_table import pool_text
from trioserve.text_tables import counted, shown, size_text, table, time_text

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from trioserve.control.rates import Quantile

__all__ = ["done_text", "latency_text", "printable", "status_text", "worker_count_text"]


def printable(text: str) -> str:
    """The text without what a terminal would obey: names in it are others'."""
    return "".join(
        one if one.isprintable() or one == "\n" else "\N{REPLACEMENT CHARACTER}" for one in text
    )


# -- the status -------------------------------------------------------------------------------


def status_text(status: Mapping[str, Any]) -> str:
    """The status for people: the server, its workers, its dirty pool."""
    facts = {
        "app": shown(status.get("app")),
        "serving": " ".join(status.get("addresses") or ()) or "-",
        "workers": worker_count_text(status),
        **_stats_facts(status.get("stats")),
    }
    width = max(map(len, facts))
    blocks = [
        _summary(status),
        "\n".join(f"{name.ljust(width)}  {value}" for name, value in facts.items()),
        table(_TITLES, map(_row, status.get("workers") or ())),
    ]
    if status.get("dirty"):
        blocks.append(f"dirty {pool_text(status['dirty'])}")
    return printable("\n\n".join(blocks))


def _summary(status: Mapping[str, Any]) -> str:
    name = f" ({status['name']})" if status.get("name") else ""
    return (
        f"trioserve {shown(status.get('version'))}, process {shown(status.get('pid'))}{name}: "
        f"{shown(status.get('phase'))}, up {time_text(status.get('uptime'))}"
    )


def worker_count_text(status: Mapping[str, Any]) -> str:
    """How many workers serve, of how many that should."""
    workers = status.get("workers") or ()
    if [worker.get("number") for worker in workers] == [0]:
        return "none: the server is one process"
    serving = sum(worker.get("state") == "serving" for worker in workers)
    target = status.get("target_workers")
    return f"{serving}" if target in (None, serving) else f"{serving} of {target}"


def _stats_facts(stats: Mapping[str, Any] | None) -> dict[str, str]:
    if not stats:
        return {}
    facts = {
        "requests": f"{stats['requests_total']:,}",
        "open": ", ".join(
            (
                counted(stats["connections"], "connection"),
                f"{counted(stats['in_flight'], 'request')} in flight",
                counted(stats["websockets"], "WebSocket"),
            )
        ),
    }
    latency = stats.get("latency")
    if latency and latency["count"]:
        quantiles = {
            share: quantile(latency["bounds"], latency["counts"], share)
            for share in (0.5, 0.95, 0.99)
        }
        facts["latency"] = ", ".join(
            f"p{share * 100:g} {latency_text(found)}" for share, found in quantiles.items()
        )
    return facts


def latency_text(latency: Quantile | None) -> str:
    """A quantile as people say it."""
    if latency is None:
        return "-"
    milliseconds = latency.seconds * 1000
    if milliseconds >= 10_000:
        text = f"{latency.seconds:.0f} s"
    else:
        text = f"{milliseconds:.{0 if milliseconds >= 100 else 1}f} ms"
    return f"> {text}" if latency.is_beyond else text


_TITLES = [
    "WORKER",
    "PID",
    "STATE",
    "UPTIME",
    "HEARD",
    "REQUESTS",
    "CONNECTIONS",
    "IN FLIGHT",
    "MEMORY",
    "RESTARTS",
    "LAST END",
]


def _row(worker: Mapping[str, Any]) -> Sequence[str]:
    return [
        shown(worker.get("number")),
        shown(worker.get("pid")),
        shown(worker.get("state")),
        time_text(worker.get("uptime")),
        time_text(worker.get("heard")),
        shown(worker.get("requests")),
        shown(worker.get("connections")),
        shown(worker.get("in_flight")),
        size_text(worker.get("rss")),
        shown(worker.get("restarts")),
        worker.get("last_end") or "-",
    ]


# -- what was done ----------------------------------------------------------------------------

_SENTENCES = {
    "add_workers": "workers are added",
    "remove_workers": "workers are removed",
    "kill_worker": "the worker is killed; another takes its place",
    "add_dirty": "dirty workers are added",
    "remove_dirty": "dirty workers are removed",
    "reload": "the reload has begun",
    "set_log_level": "the log level is set",
    "shutdown": "the server stops",
}


def done_text(asked: str, result: Mapping[str, Any]) -> str:
    """What was asked for and done, and what the server says of it."""
    text = str(result.get("message") or _SENTENCES[asked])
    if "target_workers" in result:
        target = result["target_workers"]
        text += f"; {target} {'is' if target == 1 else 'are'} wanted now"
    if result.get("reason"):
        text += f" ({result['reason']})"
    return printable(text)

# SPDX-License-Identifier: MIT
"""Figures as Prometheus reads them: text made from the status of a server, each time anew.

The table at this file's end is all that there is; docs/metrics.md explains it, and a test compares
the two. Needs the library prometheus-client, which only this module imports.
"""

from __future__ import annotations

import platform
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import TYPE_CHECKING, Any, Final, NamedTuple, TypeAlias

from prometheus_client import generate_latest
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, HistogramMetricFamily

if TYPE_CHECKING:
    from prometheus_client.metrics_core import Metric

__all__ = ["CONTENT_TYPE", "render"]

#: Of the text format that every version of Prometheus reads.
CONTENT_TYPE: Final = "text/plain; version=0.0.4; charset=utf-8"

Status: TypeAlias = Mapping[str, Any]
#: Labels and value.
Samples: TypeAlias = Iterable[tuple[tuple[str, ...], Any]]


def render(status: Status) -> bytes:
    """The text for ``status``, a server's as ``Controls.status`` gives it.

    What it lacks (``stats`` or ``dirty`` is None, a worker has no ``rss`` yet) has no samples.
    """
    return generate_latest(_Collector(status))


class _Collector:
    def __init__(self, status: Status) -> None:
        self._status = status

    def collect(self) -> Iterator[Metric]:
        """See prometheus_client.registry.Collector."""
        status = self._status
        dirty = status.get("dirty")
        stats = status.get("stats")
        for table, source in ((_SERVER, status), (_HTTP, stats), (_DIRTY, dirty)):
            if source is None:
                continue
            for metric in table:
                make_family, add = _KINDS[metric.kind]
                family = make_family(metric.name, metric.help, labels=metric.labels)
                for labels, value in metric.samples(source):
                    add(family, labels, value)
                yield family


def _add_histogram(family: Any, labels: tuple[str, ...], value: Any) -> None:
    bounds, counts, total = value
    buckets = []
    below = 0
    for bound, count in zip((*map(str, bounds), "+Inf"), counts, strict=True):
        below += count
        buckets.append((bound, below))
    family.add_metric(labels, buckets, sum_value=total)


def _add(family: Any, labels: tuple[str, ...], value: Any) -> None:
    if value is not None:
        family.add_metric(labels, value)


_KINDS: Final[Mapping[str, tuple[Callable[..., Any], Callable[..., None]]]] = {
    "gauge": (GaugeMetricFamily, _add),
    "counter": (CounterMetricFamily, _add),
    "histogram": (HistogramMetricFamily, _add_histogram),
}


# -- where samples come from ----------------------------------------------------------------


def _one(key: str) -> Callable[[Status], Samples]:
    return lambda source: [((), source.get(key))]


def _by_key(key: str) -> Callable[[Status], Samples]:
    """Of a mapping: its keys are the label."""
    return lambda source: [((name,), value) for name, value in sorted(source[key].items())]


def _build(status: Status) -> Samples:
    return [((status["version"], platform.python_version()), 1)]


def _states(status: Status) -> Samples:
    found = Counter(worker["state"] for worker in status["workers"])
    return [((state,), count) for state, count in sorted(found.items())]


def _workers(key: str, combine: Callable[[list[Any]], Any]) -> Callable[[Status], Samples]:
    return lambda status: _of_each(status["workers"], "number", key, combine)


def _of_each(
    workers: Iterable[Status], number: str, key: str, combine: Callable[[list[Any]], Any]
) -> Samples:
    """A figure of each worker; of two that have one number, since one replaces the other, both."""
    found: dict[str, list[Any]] = {}
    for worker in workers:
        if worker.get(key) is not None:
            found.setdefault(str(worker[number]), []).append(worker[key])
    return [((number,), combine(values)) for number, values in found.items()]


def _requests(stats: Status) -> Samples:
    for method, row in sorted(stats["requests"].items()):
        for code, count in sorted(row.items()):
            yield (method, code), count


def _durations(stats: Status) -> Samples:
    bounds = stats["latency"]["bounds"]
    for method, classes in sorted(stats["durations"].items()):
        for name, cell in sorted(classes.items()):
            yield (method, name), (bounds, cell["counts"], sum(cell["sums"]))


def _handshakes(stats: Status) -> Samples:
    yield ("accepted",), stats["websockets_total"]
    yield ("refused",), stats["websockets_refused_total"]


def _apps(key: str) -> Callable[[Status], Samples]:
    return lambda dirty: [((path,), app[key]) for path, app in sorted(dirty["apps"].items())]


def _calls(dirty: Status) -> Samples:
    for path, app in sorted(dirty["apps"].items()):
        for outcome, count in app["outcomes"].items():
            yield (path, outcome), count


def _queue_times(dirty: Status) -> Samples:
    for path, app in sorted(dirty["apps"].items()):
        waits = app["queue_time"]
        yield (path,), (waits["bounds"], waits["counts"], waits["sum"])


def _dirty_memory(dirty: Status) -> Samples:
    return _of_each(dirty["workers"], "slot", "rss", sum)


def _stash(key: str) -> Callable[[Status], Samples]:
    return lambda dirty: [((), dirty["stash"][key])]


# -- the table ------------------------------------------------------------------------------


class _Metric(NamedTuple):
    """One of them, with the samples that it has in a status or a part of it."""

    name: str
    kind: str
    help: str
    samples: Callable[[Any], Samples]
    labels: tuple[str, ...] = ()


_SERVER: Final = (
    _Metric(
        "trioserve_build_info",
        "gauge",
        "Versions of trioserve and Python; always 1",
        _build,
        ("version", "python"),
    ),
    _Metric("trioserve_uptime_seconds", "gauge", "Time since the server started", _one("uptime")),
    _Metric("trioserve_workers", "gauge", "HTTP workers, by state", _states, ("state",)),
    _Metric(
        "trioserve_workers_wanted",
        "gauge",
        "HTTP workers that there should be",
        _one("target_workers"),
    ),
    _Metric(
        "trioserve_worker_restarts_total",
        "counter",
        "Starts of a worker after its first",
        _workers("restarts", max),
        ("worker",),
    ),
    _Metric(
        "trioserve_worker_resident_memory_bytes",
        "gauge",
        "Resident memory of a worker",
        _workers("rss", sum),
        ("worker",),
    ),
    _Metric(
        "trioserve_worker_heartbeat_age_seconds",
        "gauge",
        "Time since a worker was last heard of",
        _workers("heard", max),
        ("worker",),
    ),
)
_HTTP: Final = (
    _Metric(
        "trioserve_requests_total",
        "counter",
        "Requests that have ended",
        _requests,
        ("method", "code"),
    ),
    _Metric(
        "trioserve_request_duration_seconds",
        "histogram",
        "Time from the head of a request to the end of its response",
        _durations,
        ("method", "status"),
    ),
    _Metric(
        "trioserve_requests_in_flight",
        "gauge",
        "Requests whose response is not complete",
        _one("in_flight"),
    ),
    _Metric(
        "trioserve_requests_refused_total",
        "counter",
        "Requests that were refused before an application saw them",
        _by_key("refused"),
        ("code",),
    ),
    _Metric(
        "trioserve_client_disconnects_total",
        "counter",
        "Requests whose client left before the response was complete",
        _one("disconnects_total"),
    ),
    _Metric("trioserve_connections", "gauge", "Open connections", _one("connections")),
    _Metric(
        "trioserve_connections_accepted_total",
        "counter",
        "Connections so far",
        _one("connections_total"),
    ),
    _Metric("trioserve_websockets", "gauge", "Open WebSockets", _one("websockets")),
    _Metric(
        "trioserve_websocket_handshakes_total",
        "counter",
        "Answered WebSocket handshakes",
        _handshakes,
        ("outcome",),
    ),
    _Metric(
        "trioserve_log_messages_total",
        "counter",
        "Messages in the error log",
        _by_key("logs"),
        ("level",),
    ),
)
_DIRTY: Final = (
    _Metric(
        "trioserve_dirty_calls_total",
        "counter",
        "Calls of dirty apps that have ended",
        _calls,
        ("app", "outcome"),
    ),
    _Metric(
        "trioserve_dirty_queued", "gauge", "Calls that wait for a worker", _apps("queued"), ("app",)
    ),
    _Metric(
        "trioserve_dirty_running", "gauge", "Calls that a worker has", _apps("running"), ("app",)
    ),
    _Metric(
        "trioserve_dirty_queue_seconds",
        "histogram",
        "Time that calls waited for their start",
        _queue_times,
        ("app",),
    ),
    _Metric(
        "trioserve_dirty_app_workers",
        "gauge",
        "Workers that run an app",
        _apps("workers"),
        ("app",),
    ),
    _Metric("trioserve_dirty_workers", "gauge", "Dirty workers", _one("worker_count")),
    _Metric(
        "trioserve_dirty_workers_wanted",
        "gauge",
        "Dirty workers that there should be",
        _one("target_workers"),
    ),
    _Metric(
        "trioserve_dirty_worker_restarts_total",
        "counter",
        "Starts of dirty workers after their first",
        _one("restarts"),
    ),
    _Metric(
        "trioserve_dirty_worker_resident_memory_bytes",
        "gauge",
        "Resident memory of a dirty worker",
        _dirty_memory,
        ("worker",),
    ),
    _Metric("trioserve_stash_tables", "gauge", "Tables of the stash", _stash("tables")),
    _Metric(
        "trioserve_stash_entries", "gauge", "Entries of all tables of the stash", _stash("entries")
    ),
    _Metric("trioserve_stash_bytes", "gauge", "Size of all values of the stash", _stash("bytes")),
)
TABLE: Final = (*_SERVER, *_HTTP, *_DIRTY)

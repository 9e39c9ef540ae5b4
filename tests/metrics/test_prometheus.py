# SPDX-License-Identifier: MIT
from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any

import pytest
from prometheus_client.parser import text_string_to_metric_families

from tests.server_process import REPOSITORY
from trioserve.metrics import Recorder, merge
from trioserve.metrics.prometheus import TABLE, render
from trioserve.metrics.recorder import BOUNDS

from .statuses import APP, busy_recorder, make_status

if TYPE_CHECKING:
    from collections.abc import Mapping

Samples = dict[tuple[str, tuple[tuple[str, str], ...]], float]


def parse(text: bytes) -> Samples:
    """Every sample of the text, each of which must be there once."""
    found: Samples = {}
    for family in text_string_to_metric_families(text.decode()):
        for sample in family.samples:
            key = (sample.name, tuple(sorted(sample.labels.items())))
            assert key not in found, key
            found[key] = sample.value
    return found


def value(samples: Samples, name: str, **labels: str) -> float:
    return samples[f"trioserve_{name}", tuple(sorted(labels.items()))]


def test_what_a_server_counts_can_be_read_back() -> None:
    samples = parse(render(make_status(busy_recorder())))
    assert value(samples, "requests_total", method="GET", code="200") == 2
    assert value(samples, "requests_total", method="OTHER", code="700") == 1
    assert value(samples, "requests_in_flight") == 1
    assert value(samples, "requests_refused_total", code="400") == 1
    assert value(samples, "client_disconnects_total") == 1
    assert value(samples, "connections") == value(samples, "connections_accepted_total") == 1
    assert value(samples, "websockets") == 1
    assert value(samples, "websocket_handshakes_total", outcome="refused") == 1
    assert value(samples, "log_messages_total", level="exception") == 1
    assert value(samples, "uptime_seconds") == 12.5
    assert value(samples, "workers", state="serving") == 2
    assert value(samples, "workers_wanted") == 2


def test_histograms_are_cumulative_and_agree_with_their_counts_and_sums() -> None:
    samples = parse(render(make_status(busy_recorder())))
    labels = {"method": "GET", "status": "2xx"}
    name = "request_duration_seconds"
    counts = [
        value(samples, f"{name}_bucket", **labels, le=bound)
        for bound in [*map(str, BOUNDS), "+Inf"]
    ]
    assert counts == sorted(counts)
    assert counts[0] == 1  # the bound itself belongs to it
    assert counts[-1] == value(samples, f"{name}_count", **labels) == 2
    assert value(samples, f"{name}_sum", **labels) == pytest.approx(0.3004)
    assert value(samples, f"{name}_bucket", method="POST", status="4xx", le="60.0") == 0
    assert value(samples, f"{name}_count", method="OTHER", status="other") == 1


def test_of_two_workers_with_one_number_there_is_one_sample() -> None:
    samples = parse(render(make_status()))
    assert value(samples, "worker_resident_memory_bytes", worker="1") == 100
    assert value(samples, "worker_resident_memory_bytes", worker="2") == 10
    assert value(samples, "worker_restarts_total", worker="2") == 2
    assert value(samples, "worker_heartbeat_age_seconds", worker="2") == 9


def test_the_dirty_pool_and_the_stash_are_there() -> None:
    samples = parse(render(make_status(with_dirty=True)))
    assert value(samples, "dirty_calls_total", app=APP, outcome="completed") == 1
    assert value(samples, "dirty_calls_total", app=APP, outcome="failed") == 1
    assert value(samples, "dirty_calls_total", app=APP, outcome="lost") == 0
    assert value(samples, "dirty_running", app=APP) == 1
    assert value(samples, "dirty_queued", app=APP) == 0
    assert value(samples, "dirty_queue_seconds_count", app=APP) == 3
    assert value(samples, "dirty_worker_resident_memory_bytes", worker="1") == 1024
    assert value(samples, "dirty_worker_restarts_total") == 3
    assert value(samples, "stash_bytes") == 3


def test_what_a_server_lacks_has_no_samples() -> None:
    names = {name for name, _ in parse(render(make_status()))}
    assert not any("dirty" in name or "requests" in name for name in names)


def test_merged_snapshots_give_the_sums() -> None:
    status: dict[str, Any] = make_status()
    status["stats"] = merge([busy_recorder().snapshot(), busy_recorder().snapshot()])
    samples = parse(render(status))
    assert value(samples, "requests_total", method="GET", code="200") == 4
    assert value(samples, "requests_in_flight") == 2


def _documented(page: str) -> Mapping[str, tuple[str, str]]:
    rows = re.findall(r"^\| `(trioserve_\w+)` \| (\w+) \|([^|]*)\|", page, re.MULTILINE)
    return {name: (kind, ", ".join(re.findall(r"`(\w+)`", labels))) for name, kind, labels in rows}


def test_the_documented_metrics_are_those_that_there_are() -> None:
    page = (REPOSITORY / "docs" / "metrics.md").read_text("utf-8")
    assert _documented(page) == {
        metric.name: (metric.kind, ", ".join(metric.labels)) for metric in TABLE
    }


def test_every_metric_is_exposed_under_its_name() -> None:
    text = render(make_status(busy_recorder(), with_dirty=True)).decode()
    assert re.findall(r"^# TYPE (\S+) (\w+)$", text, re.MULTILINE) == [
        (metric.name, metric.kind) for metric in TABLE
    ]
    for name in (metric.name for metric in TABLE):
        assert re.search(rf"^{name}(_count)?[ {{]", text, re.MULTILINE), name


def test_a_new_server_can_be_shown() -> None:
    assert value(parse(render(make_status(Recorder()))), "requests_in_flight") == 0

# SPDX-License-Identifier: MIT
from __future__ import annotations

import json
import logging

import pytest

from trioserve.metrics.recorder import BOUNDS, METHODS, Recorder


def run(recorder: Recorder, method: str = "GET", status: int = 200, seconds: float = 0.0) -> None:
    recorder.begin_exchange()
    recorder.end_exchange((method, status, seconds))


def test_the_snapshot_of_a_new_one_is_all_zero_and_survives_json() -> None:
    snapshot = Recorder().snapshot()
    assert json.loads(json.dumps(snapshot)) == snapshot
    assert snapshot["requests_total"] == 0
    assert snapshot["latency"]["bounds"] == list(BOUNDS)
    assert snapshot["latency"]["counts"] == [0] * (len(BOUNDS) + 1)
    assert (snapshot["connections"], snapshot["in_flight"], snapshot["websockets"]) == (0, 0, 0)


def test_an_exchange_is_in_flight_from_its_beginning_to_its_end() -> None:
    recorder = Recorder()
    for _ in range(3):
        recorder.begin_exchange()
    assert (recorder.in_flight, recorder.requests_total) == (3, 0)
    assert recorder.snapshot()["in_flight"] == 3
    recorder.end_exchange(("GET", 200, 0.1))
    assert (recorder.in_flight, recorder.requests_total) == (2, 1)
    recorder.settle()
    assert (recorder.in_flight, recorder.requests_total) == (2, 1)
    assert recorder.snapshot()["in_flight"] == 2


@pytest.mark.parametrize(
    ("seconds", "bucket"),
    [(0.0, 0), (BOUNDS[0], 0), (0.00051, 1), (0.1, 7), (60.0, 15), (61.0, 16)],
)
def test_a_duration_belongs_to_the_first_bound_that_is_not_less(
    seconds: float, bucket: int
) -> None:
    recorder = Recorder()
    run(recorder, seconds=seconds)
    latency = recorder.snapshot()["latency"]
    assert [index for index, count in enumerate(latency["counts"]) if count] == [bucket]
    assert latency["sums"][bucket] == latency["sum"] == seconds
    assert latency["count"] == 1


def test_requests_are_told_apart_by_method_and_status_and_durations_by_its_class() -> None:
    recorder = Recorder()
    for method, status in [("GET", 200), ("GET", 204), ("POST", 201), ("GET", 404), ("GET", 200)]:
        run(recorder, method, status, 1.0)
    snapshot = recorder.snapshot()
    assert snapshot["requests"] == {"GET": {"200": 2, "204": 1, "404": 1}, "POST": {"201": 1}}
    durations = snapshot["durations"]
    assert {method: list(classes) for method, classes in durations.items()} == {
        "GET": ["2xx", "4xx"],
        "POST": ["2xx"],
    }
    assert sum(durations["GET"]["2xx"]["counts"]) == 3
    assert sum(durations["GET"]["2xx"]["sums"]) == 3.0
    assert snapshot["requests_total"] == 5


def test_unknown_methods_and_statuses_share_one_label() -> None:
    recorder = Recorder()
    for number in range(100):
        run(recorder, f"METHOD{number}", 600 + number)
    run(recorder, "OTHER")
    run(recorder, "get")
    snapshot = recorder.snapshot()
    assert set(snapshot["requests"]) == {"OTHER"}
    assert set(snapshot["durations"]["OTHER"]) == {"other", "2xx"}
    for method in METHODS:
        run(recorder, method, 599)
    assert set(recorder.snapshot()["requests"]) == {"OTHER", *METHODS}


def test_a_snapshot_does_not_change_afterwards() -> None:
    recorder = Recorder()
    run(recorder)
    snapshot = recorder.snapshot()
    text = json.dumps(snapshot)
    run(recorder)
    recorder.logs["error"] += 1
    recorder.snapshot()
    assert json.dumps(snapshot) == text


def test_connections_websockets_refusals_and_disconnects_are_counted() -> None:
    recorder = Recorder()
    recorder.begin_connection()
    recorder.begin_connection()
    recorder.end_connection()
    recorder.begin_websocket()
    recorder.end_websocket()
    recorder.begin_websocket()
    recorder.refuse_websocket()
    recorder.refuse(400)
    recorder.refuse(400)
    recorder.refuse(0)
    recorder.note_disconnect()
    snapshot = recorder.snapshot()
    assert (snapshot["connections"], snapshot["connections_total"]) == (1, 2)
    assert (snapshot["websockets"], snapshot["websockets_total"]) == (1, 2)
    assert snapshot["websockets_refused_total"] == 1
    assert snapshot["refused"] == {"400": 2, "0": 1}
    assert snapshot["disconnects_total"] == 1


def test_log_messages_are_counted_by_level_where_the_logger_takes_them() -> None:
    recorder = Recorder()
    logger = logging.Logger("of this test", logging.INFO)
    logger.addHandler(logging.NullHandler())
    with recorder.counting_logs(logger):
        logger.debug("not taken")
        logger.info("a")
        logger.warning("b")
        logger.error("c")
        logger.critical("d")
        try:
            raise ValueError
        except ValueError:
            logger.exception("e")
    logger.error("not counted any more")
    assert recorder.snapshot()["logs"] == {
        **{"info": 1, "warning": 1, "error": 1},
        **{"critical": 1, "exception": 1},
    }
    assert len(logger.handlers) == 1  # nothing that would look like the program's own

# SPDX-License-Identifier: MIT
"""Any frames, sent to a whole server: it answers or ends the connection, and nothing fails."""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING

import pytest
import trio
import trio.testing
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tests.connection.service import open_service, read_body
from tests.http2 import frames
from tests.http2.client import Http2Client
from tests.protocols.http2.test_engine import ANY_FRAME

if TYPE_CHECKING:
    from trioserve.types import Receive, Scope, Send

#: Whole requests, so that there are streams for the rest to meet.
REQUESTS = st.sampled_from(
    [
        frames.headers(stream_id, frames.get(path, method=method), end_stream=end)
        for stream_id in (1, 3, 5)
        for path, method in (("/", "GET"), ("/early", "POST"), ("/large", "GET"), ("/bad", "HEAD"))
        for end in (True, False)
    ]
)


async def app(scope: Scope, receive: Receive, send: Send) -> None:
    path = scope["path"]
    body = b"" if path == "/early" else await read_body(receive)
    if path == "/bad":
        raise ZeroDivisionError
    await send({"type": "http.response.start", "status": 200, "headers": [], "trailers": True})
    await send({"type": "http.response.body", "body": body, "more_body": True})
    await send({"type": "http.response.body", "body": bytes(100_000 * (path == "/large"))})
    await send({"type": "http.response.trailers", "headers": [(b"a", b"b")]})


class Failures(logging.Handler):
    """What is logged as an error, but the application's own."""

    def __init__(self) -> None:
        super().__init__(logging.ERROR)
        self.records: list[logging.LogRecord] = []

    def emit(self, record: logging.LogRecord) -> None:
        own = record.exc_info and isinstance(record.exc_info[1], (ZeroDivisionError, OSError))
        if not own and "returned" not in record.getMessage():
            self.records.append(record)


async def converse(engine: str, pieces: list[bytes]) -> None:
    """Sends the pieces, leaves, and waits until nothing of the connection is left."""
    async with open_service("memory", app, http2_engine=engine, max_body_size=15) as service:
        await trio.testing.wait_all_tasks_blocked()  # the server's own tasks have begun
        tasks = trio.lowlevel.current_statistics().tasks_living
        client = Http2Client(service.connect(), auto=False)
        await client.send(frames.PREFACE, frames.settings())
        for piece in pieces:
            await client.send(piece)
            await trio.testing.wait_all_tasks_blocked()
        await client.raw.send_eof()
        await service.all_closed()
        await client.rest()
        await trio.testing.wait_all_tasks_blocked()
        assert trio.lowlevel.current_statistics().tasks_living == tasks


@pytest.mark.slow  # a hundred servers
@settings(deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(sent=st.lists(REQUESTS | ANY_FRAME, min_size=1, max_size=10), cut=st.integers(0, 10))
def test_nothing_fails_inside_whatever_comes(
    http2_engine: str, sent: list[bytes], cut: int
) -> None:
    failures = Failures()
    log = logging.getLogger("trioserve.error")
    log.addHandler(failures)
    try:
        pieces = [b"".join(sent[:cut]), *sent[cut:]]
        clock = trio.testing.MockClock(autojump_threshold=0)
        trio.run(converse, http2_engine, [piece for piece in pieces if piece], clock=clock)
    finally:
        log.removeHandler(failures)
    assert [record.getMessage() for record in failures.records] == []

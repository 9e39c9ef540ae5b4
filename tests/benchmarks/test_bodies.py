# SPDX-License-Identifier: MIT
from __future__ import annotations

import pytest

from benchmarks.clients.bodies import parse_head


@pytest.mark.parametrize(
    ("head", "expected"),
    [
        (b"HTTP/1.1 200 OK\r\nContent-Length: 12\r\nX: y", (200, 12)),
        (b"HTTP/1.1 200 OK\r\ndate: now\r\ncontent-length:7", (200, 7)),
        (b"HTTP/1.1 200 \r\ntransfer-encoding: chunked", (200, -1)),
        (b"HTTP/1.1 503 Service Unavailable\r\nContent-Length: 0", (503, 0)),
    ],
)
def test_status_and_length_are_read(head: bytes, expected: tuple[int, int]) -> None:
    assert parse_head(head) == expected

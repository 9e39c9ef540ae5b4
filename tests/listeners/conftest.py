# SPDX-License-Identifier: MIT
"""Real sockets on the loopback interface, and what the tests of listeners share."""

from __future__ import annotations

import logging
import socket
import sys
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import AbstractAsyncContextManager, ExitStack, asynccontextmanager
from pathlib import Path
from typing import TYPE_CHECKING

import attrs
import pytest

from trioserve.listeners import Listener, open_listeners

if TYPE_CHECKING:
    from trioserve.addresses import BoundAddress


@attrs.frozen
class Options:
    """The least that open_listeners() asks of a configuration."""

    bind: tuple[str, ...] = ("127.0.0.1:0",)
    backlog: int = 128
    unix_socket_mode: int = 0o600


linux_only = pytest.mark.skipif(sys.platform != "linux", reason="it is Linux's own")

REPOSITORY = Path(__file__).parents[2]

OpenOne = Callable[..., AbstractAsyncContextManager[Listener]]
Connect = Callable[[Listener], socket.socket]


@pytest.fixture
def open_one() -> OpenOne:
    """Open the only listener of some options."""

    @asynccontextmanager
    async def open_one(options: Options | None = None) -> AsyncIterator[Listener]:
        async with open_listeners(options or Options()) as listeners:
            (listener,) = listeners
            yield listener

    return open_one


def dial(address: BoundAddress) -> socket.socket:
    """Connect: on the loopback this needs nobody to accept, only room in the queue."""
    if address.family == "unix":
        assert address.path is not None
        client = socket.socket(socket.AF_UNIX)
        abstract = address.path.startswith("@")
        target: str | tuple[str, int] = "\0" + address.path[1:] if abstract else address.path
    else:
        assert address.host is not None
        assert address.port is not None
        client = socket.socket(socket.AF_INET6 if ":" in address.host else socket.AF_INET)
        target = (address.host, address.port)
    try:
        client.settimeout(5)
        client.connect(target)
    except BaseException:
        client.close()
        raise
    return client


@pytest.fixture
def connect() -> Iterator[Connect]:
    """Connect clients that are closed at the test's end."""
    with ExitStack() as stack:
        yield lambda listener: stack.enter_context(dial(listener.address))


@pytest.fixture
def error_log() -> Iterator[list[logging.LogRecord]]:
    """The records of trioserve.error, however other tests have set its level and handlers."""
    records: list[logging.LogRecord] = []

    class Collector(logging.Handler):
        def emit(self, record: logging.LogRecord) -> None:
            records.append(record)

    logger = logging.getLogger("trioserve.error")
    handler, level = Collector(), logger.level
    logger.addHandler(handler)
    logger.setLevel(logging.INFO)
    yield records
    logger.setLevel(level)
    logger.removeHandler(handler)


@pytest.fixture
def free_port() -> int:
    """A port that was free a moment ago."""
    with socket.create_server(("127.0.0.1", 0)) as probe:
        port: int = probe.getsockname()[1]
        return port

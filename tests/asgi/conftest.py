# SPDX-License-Identifier: MIT
from __future__ import annotations

import logging
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
import trio.testing

from tests.clocked import Clocked, use_their_clocks
from tests.variants import variants
from trioserve.logs import access_logger, error_logger
from trioserve.transports import ReadinessWatcher

from .harness import FAST_KINDS, KINDS, Harness, Kind, Version, open_harness

if TYPE_CHECKING:
    from collections.abc import Iterator
    from contextlib import AbstractAsyncContextManager

    from trioserve.types import ASGIApp


class Serving(Clocked):
    """``async with serving(app, **options) as server``: a Harness, in time of its kind."""

    def __init__(self, kind: Kind, version: Version = "1.1") -> None:
        self.kind = kind
        self.version = version
        self.clock = trio.testing.MockClock(autojump_threshold=0) if kind == "memory" else None

    def __call__(self, app: ASGIApp, **options: object) -> AbstractAsyncContextManager[Harness]:
        return open_harness(self.kind, app, self.version, **options)


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    use_their_clocks(items, Path(__file__).parent)


@pytest.fixture(params=variants(KINDS, fast=FAST_KINDS))
def serving(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> Serving:
    """Each test that asks for this runs over each kind of transport."""
    version: Version = "1.1"
    kind: Kind
    if isinstance(request.param, tuple):
        kind, version = request.param
    else:
        kind = request.param
    if kind == "stream":
        monkeypatch.setattr(ReadinessWatcher, "supported", False)
    elif kind == "epoll" and not ReadinessWatcher.supported:
        pytest.skip("needs Linux's epoll")
    return Serving(kind, version)


@pytest.fixture
def in_real_time(serving: Serving) -> Serving:
    """As serving. For what uses threads: a virtual clock runs on while they work."""
    serving.clock = None
    return serving


@pytest.fixture
def in_memory(request: pytest.FixtureRequest) -> Serving:
    """For what doesn't depend on the transport."""
    return Serving("memory", getattr(request, "param", "1.1"))


@pytest.fixture(autouse=True)
def propagating_logs(caplog: pytest.LogCaptureFixture) -> Iterator[None]:
    """Both logs as an importing program has them, whatever other tests configured."""
    before = [
        (logger, logger.handlers[:], logger.level, logger.propagate)
        for logger in (access_logger, error_logger)
    ]
    for logger in (access_logger, error_logger):
        logger.handlers[:] = []
        logger.setLevel(logging.INFO)
        logger.propagate = True
    yield
    for logger, handlers, level, propagate in before:
        logger.handlers[:] = handlers
        logger.setLevel(level)
        logger.propagate = propagate


class Errors:
    """What the error log got at level ERROR and above."""

    def __init__(self, caplog: pytest.LogCaptureFixture) -> None:
        self._caplog = caplog

    @property
    def records(self) -> list[logging.LogRecord]:
        return [
            record
            for record in self._caplog.records
            if record.levelno >= logging.ERROR and record.name == "trioserve.error"
        ]

    @property
    def exceptions(self) -> list[BaseException]:
        """The exceptions that came with a traceback."""
        found = [record.exc_info[1] for record in self.records if record.exc_info]
        return [exc for exc in found if exc is not None]

    @property
    def messages(self) -> list[str]:
        return [record.getMessage() for record in self.records]


@pytest.fixture
def errors(caplog: pytest.LogCaptureFixture) -> Errors:
    return Errors(caplog)

# SPDX-License-Identifier: MIT
"""What the tests of real pools share."""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING

import pytest

from tests.dirty.real_pool import Gate, open_gate
from tests.dirty.shared_arbiter import arbiter_socket  # noqa: F401 (a fixture)

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Iterator


@pytest.fixture
def records() -> Iterator[list[logging.LogRecord]]:
    """The records of trioserve.error, however other tests have set its level and handlers."""
    found: list[logging.LogRecord] = []

    class Collector(logging.Handler):
        def emit(self, record: logging.LogRecord) -> None:
            found.append(record)

    logger = logging.getLogger("trioserve.error")
    handler, level = Collector(), logger.level
    logger.addHandler(handler)
    logger.setLevel(logging.INFO)
    yield found
    logger.setLevel(level)
    logger.removeHandler(handler)


@pytest.fixture
async def gate() -> AsyncIterator[Gate]:
    """A place where actions are met."""
    async with open_gate() as gate:
        yield gate

# SPDX-License-Identifier: MIT
from __future__ import annotations

import logging
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from collections.abc import Iterator


@pytest.fixture
def log(caplog: pytest.LogCaptureFixture) -> Iterator[pytest.LogCaptureFixture]:
    """All that is logged, from debug on, however other tests have left the logger."""
    logger = logging.getLogger("trioserve.error")
    disabled, logger.disabled = logger.disabled, False
    propagate, logger.propagate = logger.propagate, True
    with caplog.at_level(logging.DEBUG, "trioserve.error"):
        yield caplog
    logger.disabled, logger.propagate = disabled, propagate

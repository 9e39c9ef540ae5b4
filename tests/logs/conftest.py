# SPDX-License-Identifier: MIT
from __future__ import annotations

import logging
from typing import TYPE_CHECKING

import pytest

from trioserve.logs import access_logger, error_logger

if TYPE_CHECKING:
    from collections.abc import Iterator


@pytest.fixture(autouse=True)
def fresh_loggers() -> Iterator[None]:
    """Both loggers as an importing program finds them, put back afterwards."""
    before = [
        (logger, logger.handlers[:], logger.filters[:], logger.level, logger.propagate)
        for logger in (access_logger, error_logger)
    ]
    for logger in (access_logger, error_logger):
        logger.handlers[:] = []
        logger.filters[:] = []
        logger.setLevel(logging.NOTSET)
        logger.propagate = True
    yield
    for logger, handlers, filters, level, propagate in before:
        logger.handlers[:] = handlers
        logger.filters[:] = filters
        logger.setLevel(level)
        logger.propagate = propagate
        logger.disabled = False

# SPDX-License-Identifier: MIT
"""Figures of a running server: counted by each process, added up, shown to Prometheus and statsd.

Counting is all that a request pays for; see recorder.py. The HTTP server of prometheus.py's text is
``trioserve.scraping``, on a floor above.
"""

from __future__ import annotations

import contextlib
import logging
from typing import TYPE_CHECKING

from trioserve.metrics.merging import merge, without_gauges
from trioserve.metrics.recorder import SETTLE_COUNT, Recorder

if TYPE_CHECKING:
    from trioserve.config import Config

__all__ = ["SETTLE_COUNT", "Recorder", "counting_logs", "make_recorder", "merge", "without_gauges"]


_SAMPLE_SIZE = 16


def make_recorder(config: Config) -> Recorder | None:
    """A recorder, where somebody may ask for figures.

    For the control socket alone, which everybody has and few ask, one exchange in 16 is timed:
    timing all of them costs the smallest ones a tenth.
    """
    if config.has_metrics:
        return Recorder()
    return Recorder(sample_size=_SAMPLE_SIZE) if config.control_socket != "off" else None


def counting_logs(recorder: Recorder | None) -> contextlib.AbstractContextManager[None]:
    """Within the block, messages of the error log are counted, where anything is."""
    if recorder is None:
        return contextlib.nullcontext()
    return recorder.counting_logs(logging.getLogger("trioserve.error"))

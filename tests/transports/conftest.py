# SPDX-License-Identifier: MIT
from __future__ import annotations

import pytest
import trio
import trio.testing

from trioserve.transports import ReadinessWatcher

from .links import KINDS, Kind


@pytest.fixture(params=KINDS)
def kind(request: pytest.FixtureRequest) -> Kind:
    """Each test that asks for this runs over both transports."""
    kind: Kind = request.param
    if kind == "socket" and not ReadinessWatcher.supported:
        pytest.skip("needs Linux's epoll")
    return kind


@pytest.fixture
def clock() -> trio.abc.Clock:
    """Virtual time over real sockets: see links.py. It waits a little for the kernel."""
    return trio.testing.MockClock(autojump_threshold=0.02)

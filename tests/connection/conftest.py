# SPDX-License-Identifier: MIT
from __future__ import annotations

import pytest
import trio
import trio.testing

from tests.variants import variants
from trioserve.transports import ReadinessWatcher

from .service import KINDS, Kind


def _prepare(kind: Kind, monkeypatch: pytest.MonkeyPatch) -> Kind:
    if kind == "stream":
        monkeypatch.setattr(ReadinessWatcher, "supported", False)
    elif kind == "socket" and not ReadinessWatcher.supported:
        pytest.skip("needs Linux's epoll")
    return kind


@pytest.fixture(params=variants(KINDS, fast=["memory", "socket"]))
def kind(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> Kind:
    """Each test that asks for this runs over each kind of transport."""
    return _prepare(request.param, monkeypatch)


@pytest.fixture(params=variants(KINDS[1:], fast=["socket"]))
def tcp_kind(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> Kind:
    """The same for what a memory stream can't do: be full, or be reset."""
    return _prepare(request.param, monkeypatch)


@pytest.fixture
def clock(request: pytest.FixtureRequest) -> trio.abc.Clock:
    """Virtual time. Over TCP it waits a little for the kernel before it jumps."""
    in_memory = "kind" in request.fixturenames and request.getfixturevalue("kind") == "memory"
    return trio.testing.MockClock(autojump_threshold=0 if in_memory else 0.005)

# SPDX-License-Identifier: MIT
"""The engines of HTTP/2 that the tests run over: named here, and nowhere else."""

from __future__ import annotations

import os
from importlib.util import find_spec
from typing import TYPE_CHECKING, Final

import pytest

from trioserve.protocols.http2 import H2Engine, engine_package

if TYPE_CHECKING:
    from trioserve.protocols.http2 import Engine, Listener, LocalSettings

__all__ = ["ENGINES", "http2_engine", "make_engine"]

#: Values of the setting ``http2_engine``.
ENGINES: Final = ("h2", "jh2")


def make_engine(name: str, listener: Listener, settings: LocalSettings) -> Engine:
    """The engine that a server with ``http2_engine=name`` uses."""
    return H2Engine(listener, settings, engine_package(name))


@pytest.fixture(params=ENGINES)
def http2_engine(request: pytest.FixtureRequest) -> str:
    """Each test that asks for this runs over each engine."""
    name: str = request.param
    if name == "jh2" and find_spec(name) is None and os.environ.get("CI") != "true":
        pytest.skip("jh2 is not installed")
    return name

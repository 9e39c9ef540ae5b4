# SPDX-License-Identifier: MIT
"""The engines of HTTP/2 that the tests run over: named here, and nowhere else."""

from __future__ import annotations

import os
from importlib.util import find_spec
from typing import Final

import pytest

from trioserve.protocols.http2 import make_engine

from .variants import variants

__all__ = ["ENGINES", "http2_engine", "make_engine"]

#: Values of the setting ``http2_engine``.
ENGINES: Final = ("native", "h2", "jh2")


@pytest.fixture(params=variants(ENGINES, fast=["native"]))
def http2_engine(request: pytest.FixtureRequest) -> str:
    """Each test that asks for this runs over each engine."""
    name: str = request.param
    if name == "jh2" and find_spec(name) is None and os.environ.get("CI") != "true":
        pytest.skip("jh2 is not installed")
    return name

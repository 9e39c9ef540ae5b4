# SPDX-License-Identifier: MIT
"""Marks for tests of what is the same over HTTP/1.1 and HTTP/2."""

from __future__ import annotations

import pytest

from tests.variants import variants

from .harness import FAST_KINDS, KINDS

__all__ = ["both_in_memory", "both_versions"]

#: For a test with the fixture ``serving``.
both_versions = pytest.mark.parametrize(
    "serving",
    variants(
        [(kind, version) for version in ("1.1", "2") for kind in KINDS],
        fast=[(kind, version) for version in ("1.1", "2") for kind in FAST_KINDS],
    ),
    ids=lambda value: f"{value[0]}-http/{value[1]}",
    indirect=True,
)
#: For a test with the fixture ``in_memory``.
both_in_memory = pytest.mark.parametrize(
    "in_memory", ["1.1", "2"], ids=lambda value: f"http/{value}", indirect=True
)

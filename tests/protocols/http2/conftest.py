# SPDX-License-Identifier: MIT
from __future__ import annotations

from tests.http2_engines import http2_engine

__all__ = ["http2_engine"]

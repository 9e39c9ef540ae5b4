# SPDX-License-Identifier: MIT
"""Settings: what they are (options, kinds), and where they come from (sources)."""

from __future__ import annotations

from trioserve.config.dirty_options import DirtyOptions, Hook
from trioserve.config.options import (
    ApplicationOptions,
    Config,
    Http1Options,
    Http2Options,
    ListenerOptions,
    LogOptions,
    ServerOptions,
)

__all__ = [
    "ApplicationOptions",
    "Config",
    "DirtyOptions",
    "Hook",
    "Http1Options",
    "Http2Options",
    "ListenerOptions",
    "LogOptions",
    "ServerOptions",
]

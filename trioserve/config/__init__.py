# SPDX-License-Identifier: MIT
"""Settings: what they are (options, kinds), and where they come from (sources)."""

from __future__ import annotations

from trioserve.config.dirty_options import DirtyOptions
from trioserve.config.fields import Hook
from trioserve.config.options import (
    ApplicationOptions,
    Config,
    Http1Options,
    Http2Options,
    ListenerOptions,
    LogOptions,
    ServerOptions,
)
from trioserve.config.tls_options import TlsOptions
from trioserve.config.websocket_options import WebSocketOptions

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
    "TlsOptions",
    "WebSocketOptions",
]

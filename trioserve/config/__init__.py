# SPDX-License-Identifier: MIT
"""Settings: what they are (options, kinds), and where they come from (sources)."""

from __future__ import annotations

from trioserve.config.control_options import ControlOptions
from trioserve.config.dirty_options import DirtyOptions
from trioserve.config.fields import Hook
from trioserve.config.hook_options import HookOptions
from trioserve.config.metrics_options import MetricsOptions
from trioserve.config.options import (
    ApplicationOptions,
    Config,
    Http1Options,
    Http2Options,
    ListenerOptions,
    LogOptions,
    ServerOptions,
)
from trioserve.config.process_options import ProcessOptions
from trioserve.config.reload_options import ReloadOptions
from trioserve.config.tls_options import TlsOptions
from trioserve.config.websocket_options import WebSocketOptions
from trioserve.config.worker_options import WorkerOptions

__all__ = [
    "ApplicationOptions",
    "Config",
    "ControlOptions",
    "DirtyOptions",
    "Hook",
    "HookOptions",
    "Http1Options",
    "Http2Options",
    "ListenerOptions",
    "LogOptions",
    "MetricsOptions",
    "ProcessOptions",
    "ReloadOptions",
    "ServerOptions",
    "TlsOptions",
    "WebSocketOptions",
    "WorkerOptions",
]

# SPDX-License-Identifier: MIT
"""HTTP/2 (RFC 9113) without input or output: see README.md in this folder."""

from trioserve.protocols.http2.engine import Engine, Listener, LocalSettings, StreamPriority
from trioserve.protocols.http2.engines import make_engine
from trioserve.protocols.http2.errors import ErrorCode, Http2ConnectionError, MalformedRequest
from trioserve.protocols.http2.floods import FrameMeter
from trioserve.protocols.http2.priority import (
    PRIORITY_UPDATE,
    EarlyPriorities,
    Priority,
    WriteOrder,
    parse_priority,
    parse_priority_update,
)
from trioserve.protocols.http2.profiles import local_settings
from trioserve.protocols.http2.request import (
    UNKNOWN,
    Http2RequestHead,
    parse_request,
    parse_trailers,
)
from trioserve.protocols.http2.response import Http2Response

__all__ = [
    "PRIORITY_UPDATE",
    "UNKNOWN",
    "EarlyPriorities",
    "Engine",
    "ErrorCode",
    "FrameMeter",
    "Http2ConnectionError",
    "Http2RequestHead",
    "Http2Response",
    "Listener",
    "LocalSettings",
    "MalformedRequest",
    "Priority",
    "StreamPriority",
    "WriteOrder",
    "local_settings",
    "make_engine",
    "parse_priority",
    "parse_priority_update",
    "parse_request",
    "parse_trailers",
]

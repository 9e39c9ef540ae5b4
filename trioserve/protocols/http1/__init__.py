# SPDX-License-Identifier: MIT
"""HTTP/1.1 and HTTP/1.0 without input or output: see README.md in this folder."""

from trioserve.protocols.errors import RemoteProtocolError
from trioserve.protocols.http1.reader import RequestReader
from trioserve.protocols.http1.request import RequestHead
from trioserve.protocols.http1.response import DefaultFields, Framing, ResponseEncoder

__all__ = [
    "DefaultFields",
    "Framing",
    "RemoteProtocolError",
    "RequestHead",
    "RequestReader",
    "ResponseEncoder",
]

# SPDX-License-Identifier: MIT
"""Byte pipes to one peer: raw sockets watched by epoll, and any Trio stream.

===================  ============================================================================
base.py              the face of both, and what a peer's leaving is called
readiness.py         one task a server that watches all raw sockets (Linux)
socket_transport.py  a non-blocking socket: no task, no lock and no checkpoint where none is needed
stream_transport.py  a Trio stream (TLS, memory, other systems): a reader task watches the peer
===================  ============================================================================
"""

from trioserve.transports.base import Peer, Transport
from trioserve.transports.readiness import ReadinessWatcher
from trioserve.transports.socket_transport import SocketTransport
from trioserve.transports.stream_transport import StreamTransport

__all__ = ["Peer", "ReadinessWatcher", "SocketTransport", "StreamTransport", "Transport"]

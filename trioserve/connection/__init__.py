# SPDX-License-Identifier: MIT
"""One connection: negotiate, run the protocol, contain failures, keep deadlines.

===============  ==================================================================================
http1            the task: exchange after exchange, the application's failures, the client's leaving
wire             the carrier: what the exchanges of an HTTP/1.x connection read and write
owner            what a wire tells its connection
http2            the tasks of an HTTP/2 connection: reading, writing, an application each
http2_stream     the carrier: what the exchange of one stream reads and writes
http2_output     its sending half: what waits until the client takes it
http2_tunnel     a stream as a WebSocket's pipe
http2_inbox      what has come of a request's body and was not taken
http2_waits      what a connection waits for when no stream does
http2_writer     the writing half: what goes first, one write a flush
websocket        one WebSocket above its engine: deadlines, the end, over either version of HTTP
websocket_http1  the connection that has become one
limits           our deadline on an application's cancel scope
outcomes         what is logged of an exchange's end
lingering        the end of a connection, as its client is to see it
files            opens what a response is sent from
http1_files      sends it over HTTP/1.x
face             what a server knows of a connection
http2_room       how many requests an HTTP/2 connection may have
===============  ==================================================================================

``Http2Connection`` is imported where it is first needed: its engine is a library of some weight.
"""

from trioserve.connection.face import Connection
from trioserve.connection.http1 import Http1Connection

__all__ = ["Connection", "Http1Connection"]

# SPDX-License-Identifier: MIT
"""One connection: negotiate, run the protocol, contain failures, keep deadlines.

========  ==================================================================================
http1     the task: exchange after exchange, the application's failures, the client's leaving
wire      the carrier: what the exchanges of an HTTP/1.x connection read and write
owner     what a wire tells its connection
files     opens what a response is sent from
========  ==================================================================================
"""

from trioserve.connection.http1 import Http1Connection

__all__ = ["Http1Connection"]

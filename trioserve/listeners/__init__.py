# SPDX-License-Identifier: MIT
"""Listening sockets: bound all or none, accepted from with a limit, closed without loss.

No task is started here. The server runs :meth:`Listener.serve` as one task a listener, all of them
under one :class:`ConnectionGate`; cancelling these tasks is what stops new connections. Then, still
inside :func:`open_listeners`, :meth:`Listener.accept_pending` takes what clients have completed
already, and leaving the context closes the sockets.

=============  ===================================================================
``binding``    makes the sockets, and explains why one can't be had
``unix``       minds socket files
``inherited``  takes sockets from a parent process or from systemd
``accepting``  accepts
``gate``       counts, and says stop
=============  ===================================================================
"""

from __future__ import annotations

from trioserve.listeners.accepting import Listener, OnConnection
from trioserve.listeners.binding import BindOptions, open_listeners, open_twins
from trioserve.listeners.gate import ConnectionGate
from trioserve.listeners.inherited import adopt, systemd_listen_fds

__all__ = [
    "BindOptions",
    "ConnectionGate",
    "Listener",
    "OnConnection",
    "adopt",
    "open_listeners",
    "open_twins",
    "systemd_listen_fds",
]

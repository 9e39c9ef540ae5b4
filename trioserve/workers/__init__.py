# SPDX-License-Identifier: MIT
"""HTTP worker processes, seen from the arbiter; their own side is :mod:`trioserve.http_worker`."""

from __future__ import annotations

from trioserve.workers.channel import Channel
from trioserve.workers.handle import DUMP_SIGNAL, WorkerHandle
from trioserve.workers.http_workers import HttpWorkers
from trioserve.workers.local import LocalServer
from trioserve.workers.messages import MessageError
from trioserve.workers.places import WorkerPlace
from trioserve.workers.transfer import from_json, to_json

__all__ = [
    "DUMP_SIGNAL",
    "Channel",
    "HttpWorkers",
    "LocalServer",
    "MessageError",
    "WorkerHandle",
    "WorkerPlace",
    "from_json",
    "to_json",
]

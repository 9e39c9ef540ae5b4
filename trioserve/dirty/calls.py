# SPDX-License-Identifier: MIT
"""A call, and the face of what runs it: all that clients know of workers.

A client makes a Call and submits it to a Backend. From then on the backend calls ``deliver`` and
``fail``, in the Trio loop that it lives in, until the call has ended: by one RESPONSE, by an END
after any number of CHUNKs, by an ERROR, or by ``fail``. After ``cancel`` nothing is delivered.

Backends: the Pool (worker processes of this arbiter) and the Remote (an arbiter behind a socket).
"""

from __future__ import annotations

import math
from enum import Enum
from typing import TYPE_CHECKING, Any, Protocol

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Mapping
    from contextlib import AbstractAsyncContextManager

    from trioserve.dirty.errors import DirtyError
    from trioserve.dirty.frames import Payload, Trace

__all__ = ["Backend", "Call", "Stage"]


class Stage(Enum):
    """Where a call is in its life."""

    #: Not submitted, or refused.
    NEW = "new"
    QUEUED = "queued"
    #: At a worker that is busy: sent ahead, so that it needn't wait for a round trip.
    AHEAD = "ahead"
    RUNNING = "running"
    ENDED = "ended"


class Call:
    """One call of an action.

    Attributes:
        app_path, action: what is called.
        parts: the REQUEST's payload; dropped once it is sure that it needn't be sent again.
        size: bytes of it.
        timeout: seconds from its submission, the queue included; inf = none.
        trace: of the call whose action makes this one, as its client knows it; None = none.
        parent: that call, once the pool has found it; until either of them has ended.
        id: given by the backend.
        deadline: on Trio's clock; the backend's.
    """

    # Most calls change none of these: defaults of the class cost nothing.
    id = 0
    stage = Stage.NEW
    deadline = math.inf
    # The pool's own:
    abandoned = False
    revoked = False
    overdue = False
    limit_at = math.inf
    submitted_at = 0.0
    started_at = 0.0
    holder: Any = None
    parent: Call | None = None
    children: dict[int, Call] | None = None

    def __init__(
        self,
        app_path: str,
        action: str,
        parts: list[bytes | memoryview],
        timeout: float = math.inf,
        trace: Trace | None = None,
    ) -> None:
        self.app_path = app_path
        self.action = action
        self.parts = parts
        self.size = len(parts[0]) if len(parts) == 1 else sum(map(len, parts))
        self.timeout = timeout
        self.trace = trace

    def deliver(self, frame_type: int, payload: Payload) -> None:
        """A RESPONSE, CHUNK, END or ERROR of this call has come."""
        raise NotImplementedError

    def fail(self, error: DirtyError) -> None:
        """The call has ended without a frame that says so."""
        raise NotImplementedError


class Backend(Protocol):
    """What runs actions and keeps the stash. To be used in one Trio loop."""

    def submit(self, call: Call) -> None:
        """Takes the call, which must be new; never blocks.

        Raises:
            RuntimeError: it was submitted before.
            DirtyAppNotFoundError, DirtyNoWorkersAvailableError, DirtyOverloadedError,
            DirtyConnectionError: at once, instead of the call's ``fail``.
        """

    def cancel(self, call: Call) -> None:
        """Nobody waits for the call any more: it is ended as soon as its action allows."""

    def credit(self, call: Call, size: int) -> None:
        """``size`` more bytes of this call's CHUNKs may come."""

    async def ready(self) -> None:
        """Returns when calls can be submitted: a connection may have to be made first.

        Raises:
            DirtyConnectionError: it can't be made.
        """

    async def status(self) -> dict[str, Any]:
        """The result of STATUS."""

    async def manage(self, operation: int, count: int) -> dict[str, Any]:
        """The result of MANAGE."""

    async def stash(self, op: int, fields: Mapping[str, Any]) -> Any:
        """Does one operation of the stash."""

    def stash_stream(
        self, op: int, fields: Mapping[str, Any]
    ) -> AbstractAsyncContextManager[AsyncIterator[Any]]:
        """Does one operation of the stash that answers with a stream of values."""

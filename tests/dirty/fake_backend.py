# SPDX-License-Identifier: MIT
"""A session with a client and a backend that the test plays both: no process, no waiting."""

from __future__ import annotations

import contextlib
import socket
from typing import TYPE_CHECKING, Any, Final

import trio

from tests.dirty.raw_peer import PATIENCE, RawPeer
from trioserve.dirty import frames, tlv
from trioserve.dirty.calls import Call
from trioserve.dirty.frames import FrameType
from trioserve.dirty.sessions import Backlog, Session
from trioserve.dirty.tables import StashTables

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Mapping

    from trioserve.dirty.errors import DirtyError

__all__ = ["REQUEST", "FakeBackend", "Served", "answer", "give_chunks", "serving"]

#: Of id 1; with no arguments.
REQUEST: Final = frames.request(1, "a:App", "run")


def answer(call: Call, result: Any) -> None:
    """The call's RESPONSE."""
    call.deliver(FrameType.RESPONSE, tlv.encode({"result": result}))


def give_chunks(call: Call, size: int, count: int) -> int:
    """Bytes of frames that were given."""
    data = tlv.encode({"data": bytes(size)})
    for _ in range(count):
        call.deliver(FrameType.CHUNK, data)
    return count * (len(data) + frames.HEADER_SIZE)


class FakeBackend:
    """Writes down what it is asked; the test answers.

    Attributes:
        cancelled, credits: in their order.
        refusal: what submit and manage raise.
        gate: what STATUS and MANAGE wait for.
    """

    def __init__(self) -> None:
        self._inbox, self._outbox = trio.open_memory_channel[Call](10_000)
        self.cancelled: list[Call] = []
        self.credits: list[tuple[Call, int]] = []
        self.refusal: DirtyError | None = None
        self.gate = trio.Event()
        self.gate.set()

    def submit(self, call: Call) -> None:
        if self.refusal is not None:
            raise self.refusal
        self._inbox.send_nowait(call)

    async def submitted(self) -> Call:
        """The next call that comes."""
        with trio.fail_after(PATIENCE):
            return await self._outbox.receive()

    @property
    def waiting(self) -> int:
        """Calls that have come and that the test has not taken."""
        return self._outbox.statistics().current_buffer_used

    def cancel(self, call: Call) -> None:
        self.cancelled.append(call)

    def credit(self, call: Call, size: int) -> None:
        self.credits.append((call, size))

    @property
    def credited(self) -> int:
        return sum(size for _, size in self.credits)

    async def ready(self) -> None:
        pass

    async def status(self) -> dict[str, Any]:
        await self.gate.wait()
        return {"arbiter_pid": 1}

    async def manage(self, operation: int, count: int) -> dict[str, Any]:
        await self.gate.wait()
        if self.refusal is not None:
            raise self.refusal
        return {"operation": operation, "requested": count}

    async def stash(self, op: int, fields: Mapping[str, Any]) -> Any:
        raise NotImplementedError

    def stash_stream(self, op: int, fields: Mapping[str, Any]) -> Any:
        raise NotImplementedError


class Served:
    """What is there while a session runs.

    Attributes:
        peer: the client.
        session, backend, tables: the arbiter's side.
        scope: cancelled when the arbiter stops.
        ended: the session has.
    """

    def __init__(self, max_frame_size: int, backlog: Backlog | None = None) -> None:
        ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_STREAM)
        self.peer = RawPeer(ours)
        self.backend = FakeBackend()
        self.tables = StashTables()
        self.session = Session(theirs, self.backend, self.tables, max_frame_size, backlog)
        self.scope = trio.CancelScope()
        self.ended = trio.Event()

    async def run(self) -> None:
        with self.scope:
            await self.session.run()
        self.ended.set()

    async def all_handled(self) -> None:
        """Returns when what the peer has sent was handled, and nothing but this was answered."""
        await self.peer.send(frames.status(1 << 60))
        await self.peer.result(1 << 60)


@contextlib.asynccontextmanager
async def serving(
    *,
    hello: bool = False,
    max_frame_size: int = frames.DEFAULT_MAX_FRAME_SIZE,
    backlog: Backlog | None = None,
) -> AsyncIterator[Served]:
    """A session around the block; ``hello``: its client says so. After the block, it has ended."""
    served = Served(max_frame_size, backlog)
    async with trio.open_nursery() as nursery:
        nursery.start_soon(served.run)
        if hello:
            await served.peer.say_hello()
        try:
            yield served
        finally:
            served.peer.close()
            with trio.fail_after(PATIENCE):
                await served.ended.wait()

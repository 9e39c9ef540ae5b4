# SPDX-License-Identifier: MIT
"""A call to an arbiter that knows no frames of ours: gunicorn's.

It does one call after the other on a connection and knows neither CANCEL nor CREDIT. So each call
gets a connection to itself: closing it is its cancellation, and what nobody reads stays in the
socket, which holds its producer up.

Task: one a call, started by the Remote; it ends with its connection.
"""

from __future__ import annotations

import socket
from typing import TYPE_CHECKING, Final

import trio

from trioserve.dirty import frames
from trioserve.dirty.calls import Stage
from trioserve.dirty.errors import DirtyConnectionError, DirtyError, DirtyProtocolError
from trioserve.dirty.frames import STREAM_WINDOW, FrameReader, FrameType
from trioserve.dirty.paths import check_server

if TYPE_CHECKING:
    from trioserve.dirty.calls import Call

__all__ = ["CLOSED", "PlainCall", "connect", "unreachable"]

#: Why a call fails whose client has gone.
CLOSED: Final = "this client was closed under the call"

_CONNECT_TIMEOUT: Final = 5.0
#: Seconds until the next try at an arbiter that has too many connections waiting.
_RETRY_INTERVAL: Final = 0.02
_RECEIVE_SIZE: Final = 256 * 1024


async def connect(path: str) -> socket.socket:
    """A connection to the arbiter at ``path``, which doesn't block.

    Raises:
        DirtyConnectionError: nobody listens there, or not within 5 s, or somebody else's arbiter.
    """
    sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    try:
        sock.setblocking(False)
        with trio.fail_after(_CONNECT_TIMEOUT):
            # Not Trio's connect(): EAGAIN of a Unix socket says that the queue of the listener is
            # full, and does not mean, as it does elsewhere, that the connection is under way.
            while True:
                try:
                    sock.connect(path)
                except BlockingIOError:
                    await trio.sleep(_RETRY_INTERVAL)
                else:
                    break
        check_server(sock, path)
    except (OSError, trio.TooSlowError) as exc:
        sock.close()
        raise unreachable(path, str(exc) or "it took too long") from exc
    except BaseException:
        sock.close()
        raise
    return sock


def unreachable(path: str, reason: str) -> DirtyConnectionError:
    """The error of a call that could not be made, or whose arbiter has gone."""
    return DirtyConnectionError(
        f"the dirty arbiter at {path} can't be reached: {reason}", socket_path=path
    )


class PlainCall:
    """One call, with its connection.

    Args:
        path: the arbiter's socket.
        call: what is told of frames that come.
        max_frame_size: bytes of a payload that is taken.

    Attributes:
        is_answered: a frame has come: somebody is there, and answers.
    """

    def __init__(self, path: str, call: Call, max_frame_size: int) -> None:
        self.call = call
        self.is_answered = False
        self._path = path
        self._reader = FrameReader(max_frame_size)
        self._scope = trio.CancelScope()
        self._ahead = 0
        self._credited = trio.lowlevel.ParkingLot()

    async def run(self, parts: frames.Parts) -> None:
        """Sends the request, and hands over what comes, until the call has ended.

        *Errors handled here*: whatever keeps it from its last frame: the call fails.
        *Cancellation*: fails the call, too.
        """
        error = unreachable(self._path, CLOSED)
        try:
            with self._scope:
                await self._converse(parts)
        except DirtyConnectionError as exc:
            error = exc
        except DirtyError as exc:
            error = unreachable(self._path, str(exc))
        finally:
            if self.call.stage is not Stage.ENDED:
                self.call.stage = Stage.ENDED
                self.call.fail(error)

    async def _converse(self, parts: frames.Parts) -> None:
        sock = await connect(self._path)
        async with trio.SocketStream(trio.socket.from_stdlib_socket(sock)) as stream:
            try:
                for part in parts:
                    await stream.send_all(part)
                while self.call.stage is not Stage.ENDED:
                    self._take(await stream.receive_some(_RECEIVE_SIZE))
                    while self._ahead >= STREAM_WINDOW:
                        await self._credited.park()
            except trio.BrokenResourceError as exc:
                raise unreachable(self._path, str(exc.__cause__ or exc)) from exc

    def _take(self, data: bytes | bytearray) -> None:
        if not data:
            raise unreachable(self._path, "it closed the connection")
        call = self.call
        for frame_type, call_id, payload in self._reader.feed(bytes(data)):
            if call_id != call.id:
                raise DirtyProtocolError(f"a reply to request {call_id} came for request {call.id}")
            self.is_answered = True
            if frame_type == FrameType.CHUNK:
                self._ahead += len(payload) + frames.HEADER_SIZE
            else:
                call.stage = Stage.ENDED
            call.deliver(frame_type, payload)
            if call.stage is Stage.ENDED:
                return
        if self._reader.error is not None:
            raise self._reader.error

    def cancel(self, call: Call) -> None:
        """Nobody waits for the call any more."""
        self._scope.cancel()

    def credit(self, call: Call, size: int) -> None:
        """``size`` bytes of what was handed over have been taken."""
        self._ahead -= size
        self._credited.unpark_all()

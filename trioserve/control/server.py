# SPDX-License-Identifier: MIT
"""The server's end of the control socket.

Tasks, all in the nursery of ``serve_control``: the accepting one, and one for each connection,
which reads a line, does what it asks and writes the answer, until the client leaves. Cancelling
``serve_control`` ends them all.

Who gets in: the socket's mode is 0600 before anybody can connect, and the client's user is looked
at: this process's, or root. What a client can do to the server besides what it asks for: hold one
of a few connections for IDLE_TIMEOUT, and lines of MAX_REQUEST_SIZE.
"""

from __future__ import annotations

import logging
import os
import stat
from typing import TYPE_CHECKING, Final

import trio

from trioserve.addresses import UnixAddress
from trioserve.control import messages
from trioserve.errors import BindError, TrioserveError
from trioserve.listeners.unix import listen_unix
from trioserve.peers import is_stranger, peer_uid

if TYPE_CHECKING:
    import socket

    from trioserve.control.controls import Controls
    from trioserve.listeners.unix import SocketFile

__all__ = ["serve_control"]

_log = logging.getLogger("trioserve.error")

_BACKLOG: Final = 16
_MAX_CONNECTIONS: Final = 32
#: Seconds without a whole request, and for the client to take something of an answer.
IDLE_TIMEOUT: Final = 60.0
WRITE_TIMEOUT: Final = 10.0
#: Bytes of an answer that are written at a time, each with its own WRITE_TIMEOUT.
_PIECE_SIZE: Final = 64 * 1024
#: Seconds without accepting after it failed: out of descriptors, as a rule.
_ACCEPT_PAUSE: Final = 0.1
#: Seconds to write the answer to what ends this very task.
_LAST_WORDS_TIMEOUT: Final = 1.0


async def serve_control(
    path: str | None,
    controls: Controls,
    *,
    task_status: trio.TaskStatus[str | None] = trio.TASK_STATUS_IGNORED,
) -> None:
    """Serves the control socket until cancelled; then its file is gone.

    Where it can't be made (its directory is not there or can't be written to, or another server
    listens there), that is one line in the log, and this returns at once: no reason not to serve.

    Args:
        path: of the socket; None: it is off. See control_socket_path.
        controls: what is asked.
        task_status: is given the path, or None where there is no socket.

    *Errors handled here*: all of one connection.
    """
    bound = None if path is None else _listen(path)
    if bound is None:
        task_status.started(None)
        return
    listener, file = bound
    try:
        with listener:
            async with trio.open_nursery() as nursery:
                server = _Server(controls, nursery)
                nursery.start_soon(server.accept, trio.socket.from_stdlib_socket(listener))
                task_status.started(path)
    finally:
        if file is not None:
            file.unlink_if_ours()


def _listen(path: str) -> tuple[socket.socket, SocketFile | None] | None:
    try:
        info = os.stat(os.path.dirname(os.path.abspath(path)))
        if info.st_mode & stat.S_IWOTH and not info.st_mode & stat.S_ISVTX:
            raise BindError("anybody may replace files in its directory; use one of mode 0700")
        bound = listen_unix(UnixAddress(path), backlog=_BACKLOG, mode=0o600)
    except OSError as exc:
        reason = exc.strerror or str(exc)
    except BindError as exc:
        reason = str(exc)
    else:
        bound[0].setblocking(False)
        return bound
    _log.warning("there is no control socket, so trioservectl can't be used: %s: %s", path, reason)
    return None


class _Server:
    def __init__(self, controls: Controls, nursery: trio.Nursery) -> None:
        self._controls = controls
        self._nursery = nursery
        self._connections = 0

    async def accept(self, listener: trio.socket.SocketType) -> None:
        """Accepts connections until cancelled."""
        while True:
            try:
                sock, _ = await listener.accept()
            except OSError as exc:
                _log.warning("control: no connection can be accepted for now: %s", exc)
                await trio.sleep(_ACCEPT_PAUSE)
                continue
            self._connections += 1
            self._nursery.start_soon(self._contain, trio.SocketStream(sock))

    async def _contain(self, stream: trio.SocketStream) -> None:
        try:
            async with stream:
                await self._serve(stream)
        except (trio.BrokenResourceError, trio.ClosedResourceError):
            pass  # it has left in the middle
        except Exception:  # the border of one connection
            _log.exception("control: a connection failed")
        finally:
            self._connections -= 1

    async def _serve(self, stream: trio.SocketStream) -> None:
        uid = peer_uid(stream.socket)  # type: ignore[arg-type]  # it has getsockopt, too
        if is_stranger(uid):
            _log.warning("control: a connection of user %d was refused", uid)
            return
        if self._connections > _MAX_CONNECTIONS:
            await _write(stream, messages.encode_refusal("too many connections are open already"))
            return
        buffer = bytearray()
        while (line := await _read_line(stream, buffer)) is not None:
            if len(line) > messages.MAX_REQUEST_SIZE:
                refusal = f"a request is a line of at most {messages.MAX_REQUEST_SIZE} bytes"
                await _write(stream, messages.encode_refusal(refusal))
                return
            await self._answer(stream, line)

    async def _answer(self, stream: trio.SocketStream, line: bytes) -> None:
        asked = None
        try:
            asked, arguments = messages.parse_request(line)
            if asked not in ("status", "tasks"):
                _log.info("control: %s %s", asked, " ".join(map(str, arguments.values())))
            answer = messages.encode_answer(await getattr(self._controls, asked)(**arguments))
        except TrioserveError as exc:
            answer = messages.encode_refusal(str(exc))
        except Exception as exc:  # the border of one request
            _log.exception("control: %s failed", asked)
            answer = messages.encode_refusal(f"it failed: {type(exc).__name__}: {exc}")
        if asked == "shutdown":
            # What it has asked for may have cancelled this task already.
            with trio.move_on_after(_LAST_WORDS_TIMEOUT, shield=True):
                await _write(stream, answer)
        else:
            await _write(stream, answer)


async def _read_line(stream: trio.SocketStream, buffer: bytearray) -> bytes | None:
    """The next line, or more than a line may have; None: the client has left, or does nothing.

    Args:
        buffer: what had come beyond the last line, and then what has come beyond this one.
    """
    with trio.move_on_after(IDLE_TIMEOUT):
        while b"\n" not in buffer and len(buffer) <= messages.MAX_REQUEST_SIZE:
            data = await stream.receive_some(messages.MAX_REQUEST_SIZE)
            if not data:
                return None
            buffer += data
        size = buffer.find(b"\n") + 1 or len(buffer)
        line = bytes(buffer[:size])
        del buffer[:size]
        return line
    return None


async def _write(stream: trio.SocketStream, data: bytes) -> None:
    """Writes all of it.

    Raises:
        trio.BrokenResourceError: the client has left, or takes nothing of it.
    """
    for at in range(0, len(data), _PIECE_SIZE):
        with trio.move_on_after(WRITE_TIMEOUT) as stalled:
            await stream.send_all(data[at : at + _PIECE_SIZE])
        if stalled.cancelled_caught:
            raise trio.BrokenResourceError("the client reads nothing")

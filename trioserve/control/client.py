# SPDX-License-Identifier: MIT
"""The command's end of the control socket: blocking, and without Trio."""

from __future__ import annotations

import contextlib
import json
import os
import socket
import time
from typing import TYPE_CHECKING, Any, Final

from trioserve.control.messages import MAX_ANSWER_SIZE, encode_request
from trioserve.errors import TrioserveError
from trioserve.peers import is_stranger, peer_uid

if TYPE_CHECKING:
    from types import TracebackType
    from typing import Self

__all__ = ["ControlClient", "NoServerError", "RefusedError"]

#: Seconds to connect, and for an answer to a request that the server needs no time for.
CONNECT_TIMEOUT: Final = 5.0
ANSWER_TIMEOUT: Final = 30.0
_RECEIVE_SIZE: Final = 256 * 1024


class NoServerError(TrioserveError):
    """Nobody is at the socket, or nobody to be trusted, or who was there has gone or is silent."""


class RefusedError(TrioserveError):
    """The server can't do what was asked, and says why."""


class ControlClient:
    """A connection to one server.

    Args:
        path: of its socket.
        connect_timeout: seconds.

    Raises:
        NoServerError: nobody is there, or it is neither this user's server nor root's.
    """

    def __init__(self, path: str, *, connect_timeout: float = CONNECT_TIMEOUT) -> None:
        self.path = path
        self._buffer = bytearray()
        self._socket = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        self._socket.settimeout(connect_timeout)
        try:
            self._socket.connect(path)
        except OSError as exc:
            self.close()
            raise NoServerError(
                f"no server can be reached at {path}: {exc.strerror or exc}"
            ) from exc
        uid = peer_uid(self._socket)
        if os.geteuid() != 0 and is_stranger(uid):
            self.close()
            raise NoServerError(
                f"{path} belongs to user {uid}: a server of this user ({os.geteuid()}) or of root "
                "is expected there"
            )

    def ask(self, asked: str, *, timeout: float | None = ANSWER_TIMEOUT, **arguments: Any) -> Any:
        """The server's answer.

        Args:
            asked: a method of Controls.
            timeout: seconds; None: as long as it takes.
            **arguments: its arguments.

        Raises:
            RefusedError: the server says that it can't be done.
            NoServerError: the server has gone, or did not answer in time.
        """
        deadline = None if timeout is None else time.monotonic() + timeout
        try:
            self._socket.settimeout(timeout)
            self._socket.sendall(encode_request(asked, arguments))
            line = self._read_line(deadline)
        except TimeoutError:
            raise NoServerError(
                f"the server at {self.path} did not answer within {timeout:g} s"
            ) from None
        except OSError as exc:
            raise NoServerError(f"the server at {self.path} has gone: {exc.strerror}") from exc
        try:
            answer = json.loads(line)
            if "answer" in answer:
                return answer["answer"]
            refusal = answer["refused"]
        except (ValueError, TypeError, KeyError, RecursionError):
            raise NoServerError(
                f"what is at {self.path} is no trioserve: it said {line[:80]!r}"
            ) from None
        raise RefusedError(str(refusal))

    def _read_line(self, deadline: float | None) -> bytes:
        start = 0
        while (end := self._buffer.find(b"\n", start)) < 0:
            start = len(self._buffer)
            if start > MAX_ANSWER_SIZE:
                raise NoServerError(f"{self.path} sends more than {MAX_ANSWER_SIZE:,} bytes")
            if deadline is not None:
                self._socket.settimeout(max(0.001, deadline - time.monotonic()))
            data = self._socket.recv(_RECEIVE_SIZE)
            if not data:
                raise NoServerError(f"the server at {self.path} has gone")
            self._buffer += data
        line = bytes(self._buffer[:end])
        del self._buffer[: end + 1]
        return line

    def close(self) -> None:
        """Closes the connection. Idempotent."""
        with contextlib.suppress(OSError):
            self._socket.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        exc_type: type[BaseException] | None,
        exc: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.close()

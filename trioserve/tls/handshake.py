# SPDX-License-Identifier: MIT
"""A connection before it has a protocol: from an accepted stream to a TlsStream, or to its end.

Tasks: none here. The server runs each handshake in a task of its connections, under the deadline of
``tls_handshake_timeout``, and ends by ``drain`` those of which nothing is on its way.

Border: whatever goes wrong ends this connection only. What clients do to servers on the internet
(scans, timeouts, half handshakes) is a line at info or debug, and no traceback.
"""

from __future__ import annotations

import contextlib
import logging
import socket
import ssl
from typing import TYPE_CHECKING, Final

import trio

from trioserve.protocols.http1 import ResponseEncoder
from trioserve.tls.files import reason_of
from trioserve.tls.stream import TlsStream

if TYPE_CHECKING:
    from collections.abc import Callable

    from trioserve.protocols.http1 import DefaultFields
    from trioserve.tls.contexts import TlsContexts

__all__ = ["Handshake"]

_log = logging.getLogger("trioserve.error")

#: Bytes of the first read: a ClientHello with room for many extensions.
_FIRST_SIZE: Final = 16 * 1024
#: Seconds and bytes of reading after our last byte, so that it is read and not reset (RFC 9112
#: section 9.6). An alert matters less than an answer that a person reads.
_ALERT_LINGER: Final = 1.0
_ANSWER_LINGER: Final = 5.0
_LINGER_SIZE: Final = 1024 * 1024

#: Linux's, to acknowledge at once what has come.
_QUICKACK: Final = getattr(socket, "TCP_QUICKACK", None)

_PLAIN_HTTP: Final = (
    b"400 Bad Request: this port speaks HTTPS, and the request came in plain HTTP; "
    b"begin the address with https://\n"
)


class Handshake:
    """One handshake.

    Args:
        stream: accepted; this owns it from here on.
        contexts: gives the certificates, and the deadline.
        client: its address, for the log.
        default_fields: of the server's responses.
    """

    def __init__(
        self,
        stream: trio.abc.Stream,
        contexts: TlsContexts,
        client: tuple[str, int] | None,
        default_fields: Callable[[], DefaultFields],
    ) -> None:
        self._stream = stream
        self._contexts = contexts
        self._client = client
        self._default_fields = default_fields
        self._idle = True  # nothing of use is under way
        self._draining = False
        self._scope = trio.CancelScope()
        self._linger_timeout = 0.0  # set by what has said something to the client

    async def run(self) -> TlsStream | None:
        """Returns the stream, or None when the connection has ended and is closed.

        *Cancellation*: the connection is closed.
        """
        secure: TlsStream | None = None
        try:
            self._scope.deadline = trio.current_time() + self._contexts.handshake_timeout
            with self._scope:
                secure = await self._begin()
            if self._scope.cancelled_caught and not self._draining:
                self._tell(logging.DEBUG, "it took longer than tls_handshake_timeout")
            if self._linger_timeout:
                self._scope = trio.CancelScope()
                with self._scope:
                    await self._linger()
        except (trio.BrokenResourceError, trio.ClosedResourceError):
            self._tell(logging.DEBUG, "the connection broke")
        except Exception:  # a border: any stream may be behind this, and any context
            _log.exception("a TLS handshake failed inside the server")
        finally:
            if secure is None:
                await trio.aclose_forcefully(self._stream)
        return secure

    def drain(self) -> None:
        """The server is stopping: what has not begun ends now, the rest by its deadline."""
        self._draining = True
        if self._idle:
            self._scope.cancel()

    async def _begin(self) -> TlsStream | None:
        first = bytes(await self._stream.receive_some(_FIRST_SIZE))
        if not first:
            self._tell(logging.DEBUG, "the client left before it began")
            return None
        self._idle = False
        # A method is letters; no record of TLS begins with one (RFC 8446 section 5.1: 20 to 24).
        if first[:1].isalpha():
            self._tell(logging.INFO, "the client speaks plain HTTP, or something else in letters")
            await self._answer_plain_http(first)
            return None
        secure = TlsStream(self._stream, self._contexts.current(trio.current_time()))
        try:
            await secure.do_handshake(first)
        except (ssl.SSLEOFError, ssl.SSLSyscallError):
            self._tell(logging.DEBUG, "the client left")
            return None
        except ssl.SSLError as exc:
            self._tell(logging.INFO, reason_of(exc))
            self._linger_timeout = _ALERT_LINGER
            return None
        self._acknowledge()
        return secure

    def _acknowledge(self) -> None:
        """Lets the request come.

        With TLS 1.3 the client speaks last, and we have nothing to say that would acknowledge it. A
        client that leaves Nagle's algorithm on holds its request back for that, and the kernel its
        acknowledgement for 40 ms.
        """
        if _QUICKACK is not None and isinstance(self._stream, trio.SocketStream):
            with contextlib.suppress(OSError):  # a Unix socket, or closed already
                self._stream.setsockopt(socket.IPPROTO_TCP, _QUICKACK, 1)

    async def _answer_plain_http(self, request: bytes) -> None:
        encoder = ResponseEncoder()
        encoder.begin(1, head_only=request.startswith(b"HEAD "), keep_alive=False)
        fields = [(b"content-type", b"text/plain; charset=utf-8")]
        head = encoder.encode_head(400, fields, len(_PLAIN_HTTP), False, self._default_fields())
        body = encoder.encode_body(_PLAIN_HTTP, False, False)
        await self._stream.send_all(b"".join((head, *body)))
        self._linger_timeout = _ANSWER_LINGER

    async def _linger(self) -> None:
        """An end of ours, and reading on until the client's: closing at once would be a reset."""
        self._idle = True
        with (
            trio.move_on_after(self._linger_timeout),
            contextlib.suppress(trio.BrokenResourceError),
        ):
            send_eof = getattr(self._stream, "send_eof", None)
            if send_eof is not None:
                await send_eof()
            size = 0
            while size < _LINGER_SIZE:
                data = await self._stream.receive_some(_FIRST_SIZE)
                if not data:
                    return
                size += len(data)

    def _tell(self, level: int, reason: str) -> None:
        client = "a Unix socket" if self._client is None else "{}:{}".format(*self._client)
        _log.log(level, "no TLS with %s: %s", client, reason)

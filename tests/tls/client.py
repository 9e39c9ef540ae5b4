# SPDX-License-Identifier: MIT
"""A client that can do what trio.SSLStream can't: half close."""

from __future__ import annotations

import ssl

import trio

from trioserve.tls import TlsStream

from .authority import client_context

__all__ = ["TlsClientStream"]


class TlsClientStream(TlsStream):
    """The other side of a TlsStream, by the same code; its handshake comes with its first use."""

    def __init__(
        self,
        transport_stream: trio.abc.Stream,
        context: ssl.SSLContext | None = None,
        server_hostname: str = "localhost",
    ) -> None:
        super().__init__(transport_stream, ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER))
        self._tls = (context or client_context()).wrap_bio(
            self._incoming, self._outgoing, server_hostname=server_hostname
        )
        self._first = trio.Lock()

    async def do_handshake(self, received: bytes = b"") -> None:
        await super().do_handshake(received)
        # What a server keeps for its first data are tickets; a client's are its end of it all.
        finished, self._tickets = self._tickets, b""
        async with self._turn:
            await self._send(finished)

    async def _ready(self) -> None:
        async with self._first:
            if not self._established:
                try:
                    await self.do_handshake()
                except ssl.SSLError as exc:
                    raise trio.BrokenResourceError from exc

    async def send_all(self, data: bytes | bytearray | memoryview) -> None:
        await self._ready()
        await super().send_all(data)

    async def receive_some(self, max_bytes: int | None = None) -> bytes:
        await self._ready()
        return await super().receive_some(max_bytes)

    async def send_eof(self) -> None:
        await self._ready()
        await super().send_eof()

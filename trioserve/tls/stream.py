# SPDX-License-Identifier: MIT
"""TLS, the server's side, over any Trio stream: an SSLObject between two memory BIOs.

Not trio.SSLStream, which HTTP would lose something by:

=====================  =======================================================================
a half close           ``send_eof`` is close_notify and the transport's own EOF. With SSLStream
                       nobody can say that a response which ends with its connection has ended
                       while the other task reads; and without close_notify OpenSSL's clients
                       take its end for an attack (truncation)
alerts                 a handshake that fails tells the client why
memory                 a BIO keeps the size of the most that it ever held. Here that's a record
                       each way, whatever the transport takes at once
records                as many as have come are handed out together, a wake-up for all
=====================  =======================================================================

No task of its own. One task may read while others write: each operation on the SSLObject is whole
between two awaits, and what it gives out leaves under ``_turn`` in the order in which it was made.
"""

from __future__ import annotations

import contextlib
import ssl
from typing import TYPE_CHECKING, Any, Final

import trio

from trioserve.tls.files import ServerContext
from trioserve.tls.names import bad_names_unreported

if TYPE_CHECKING:
    from collections.abc import Sequence

__all__ = ["TlsStream"]

#: The most that a record holds (RFC 8446 section 5.1).
_RECORD_SIZE: Final = 16 * 1024
#: Bytes asked of the transport at once, and given to it at once.
_BATCH_SIZE: Final = 64 * 1024
#: Seconds for an alert to a peer that may not read.
_ALERT_TIMEOUT: Final = 1.0

_NOTHING: Final = memoryview(b"")


class TlsStream(trio.abc.HalfCloseableStream):
    """See this file's head. ``do_handshake`` comes first.

    Args:
        transport_stream: what carries it; closed with this stream.
        context: with PROTOCOL_TLS_SERVER.

    Attributes:
        transport_stream: the same.
    """

    def __init__(self, transport_stream: trio.abc.Stream, context: ssl.SSLContext) -> None:
        self.transport_stream = transport_stream
        self._incoming = ssl.MemoryBIO()
        self._outgoing = ssl.MemoryBIO()
        self._tls = context.wrap_bio(self._incoming, self._outgoing, server_side=True)
        self._received = _NOTHING  # of the transport, and not yet in the BIO
        self._decrypted = b""  # and not yet asked for
        self._tickets = b""
        self._turn = trio.Lock()
        self._established = False
        self._no_more = False  # is to be read: close_notify, or the transport's end
        self._failure: ssl.SSLError | None = None  # of reading; OpenSSL tells it once
        self._write_closed = False
        self._broken = False
        self._closed = False

    # -- the handshake ----------------------------------------------------------------------

    async def do_handshake(self, received: bytes = b"") -> None:
        """Sets TLS up.

        Args:
            received: what the transport has brought before.

        Raises:
            ssl.SSLError: it failed, and the client has been sent the alert, if there is one.
            trio.BrokenResourceError: the connection broke meanwhile.

        *Cancellation*: the stream can only be closed then.
        """
        self._received = memoryview(received)
        while True:
            try:
                with bad_names_unreported():
                    self._tls.do_handshake()
            except ssl.SSLWantReadError:
                await self._flush()
                await self._receive_more()
            except ssl.SSLError:
                self._broken = True
                with contextlib.suppress(trio.BrokenResourceError):
                    await self._flush()
                raise
            else:
                break
        self._established = True
        if self._tls.version() == "TLSv1.3":
            # All that is left are session tickets. A client that has sent its request and left, or
            # that doesn't read now, had better not meet them before the response.
            self._tickets = self._outgoing.read()
        else:
            await self._flush()

    # -- what was agreed on -----------------------------------------------------------------

    @property
    def application_protocol(self) -> str | None:
        """Of ALPN; None where client and server agreed on none."""
        return self._tls.selected_alpn_protocol()

    @property
    def version(self) -> str | None:
        """As Python has it: ``TLSv1.3``."""
        return self._tls.version()

    @property
    def cipher(self) -> str | None:
        """OpenSSL's name of the cipher suite."""
        found = self._tls.cipher()
        return found[0] if found else None

    @property
    def server_certificate(self) -> str | None:
        """Ours, in PEM, as the client got it; None where a hook's context keeps it to itself."""
        context = self._tls.context
        return context.certificate if isinstance(context, ServerContext) else None

    @property
    def client_certificates(self) -> Sequence[bytes]:
        """The client's, in DER, and those that it sent with it; empty without one."""
        certificate = self._tls.getpeercert(binary_form=True)
        if certificate is None:
            return ()
        chain = _chain_of(self._tls)
        return (certificate, *(one for one in chain if one != certificate))

    # -- reading ----------------------------------------------------------------------------

    async def receive_some(self, max_bytes: int | None = None) -> bytes:
        """See ReceiveStream; b"" at close_notify, and where the transport ends without one.

        *Cancellation*: no byte is lost.
        """
        await trio.lowlevel.checkpoint_if_cancelled()
        limit = _BATCH_SIZE if max_bytes is None else max_bytes
        waited = False
        while (data := await self._decrypt_or_alert(limit)) is None:
            if self._outgoing.pending:  # reading can make an answer: a change of keys
                await self._flush()
            waited = True
            await self._receive_more()
        if not waited:
            await trio.lowlevel.cancel_shielded_checkpoint()
        return data

    async def _decrypt_or_alert(self, limit: int) -> bytes | None:
        try:
            return self._decrypt(limit)
        except trio.BrokenResourceError:
            # RFC 8446 section 6.2: the peer is told, if it listens.
            if self._outgoing.pending and not self._write_closed:
                with (
                    trio.move_on_after(_ALERT_TIMEOUT),
                    contextlib.suppress(trio.BrokenResourceError),
                ):
                    await self._flush()
            raise

    def _decrypt(self, limit: int) -> bytes | None:
        """What there is, up to ``limit`` bytes; b"" at the end, None if more has to come first."""
        if self._closed:
            raise trio.ClosedResourceError
        if self._decrypted:
            data, self._decrypted = self._decrypted[:limit], self._decrypted[limit:]
            return data
        parts: list[bytes] = []
        size = 0
        while size < limit and not self._no_more and self._failure is None:
            try:
                data = self._tls.read(min(_RECORD_SIZE, limit - size))
            except ssl.SSLWantReadError:
                if not self._feed():
                    break
                continue
            except (ssl.SSLZeroReturnError, ssl.SSLEOFError):
                data = b""
            except ssl.SSLError as exc:
                self._failure = exc
                self._broken = True
                break
            self._no_more = not data
            parts.append(data)
            size += len(data)
        if size:
            return b"".join(parts)
        if self._failure is not None:
            raise trio.BrokenResourceError from self._failure
        return b"" if self._no_more else None

    def _feed(self) -> bool:
        """Moves a record's worth of what was received to where OpenSSL reads."""
        if not self._received:
            return False
        self._incoming.write(self._received[:_RECORD_SIZE])
        # An empty view would hold all of what it was a view of.
        self._received = self._received[_RECORD_SIZE:] or _NOTHING
        return True

    async def _receive_more(self) -> None:
        if self._feed():
            return
        data = await self.transport_stream.receive_some(_BATCH_SIZE)
        if data:
            self._received = memoryview(data)
            self._feed()
        else:
            self._incoming.write_eof()

    # -- writing ----------------------------------------------------------------------------

    async def send_all(self, data: bytes | bytearray | memoryview) -> None:
        """See SendStream."""
        async with self._turn:
            self._check_writable()
            if not data:
                await trio.lowlevel.checkpoint()
            with memoryview(data) as view:
                for start in range(0, len(view), _BATCH_SIZE):
                    await self._send(self._encrypt(view[start : start + _BATCH_SIZE]))

    def _encrypt(self, view: memoryview) -> bytes:
        parts = [self._tickets]
        self._tickets = b""
        try:
            for start in range(0, len(view), _RECORD_SIZE):
                self._tls.write(view[start : start + _RECORD_SIZE])
                parts.append(self._outgoing.read())
        except ssl.SSLError as exc:
            self._broken = True
            raise trio.BrokenResourceError from exc
        return b"".join(parts)

    async def wait_send_all_might_not_block(self) -> None:
        """See SendStream."""
        async with self._turn:
            self._check_writable()
            await self.transport_stream.wait_send_all_might_not_block()

    def _check_writable(self) -> None:
        if self._closed or self._write_closed:
            raise trio.ClosedResourceError
        if self._broken:
            raise trio.BrokenResourceError

    async def _flush(self) -> None:
        async with self._turn:
            data = self._outgoing.read()
            if data:
                # Records are numbered: the tickets were made first.
                tickets, self._tickets = self._tickets, b""
                await self._send(tickets + data)

    async def _send(self, data: bytes) -> None:
        """Sends it all; the caller has its turn."""
        try:
            await self.transport_stream.send_all(data)
        except BaseException:
            self._broken = True  # in the middle of a record
            raise

    # -- the end ----------------------------------------------------------------------------

    async def send_eof(self) -> None:
        """Says close_notify, and sends the transport's own EOF, if it has one; reading goes on.

        RFC 8446 section 6.1: "This alert notifies the recipient that the sender will not send any
        more messages on this connection".
        """
        async with self._turn:
            if self._write_closed:
                await trio.lowlevel.checkpoint()
                return
            self._check_writable()
            await self._say_close_notify()
            send_eof = getattr(self.transport_stream, "send_eof", None)
            if send_eof is not None:
                await send_eof()

    async def _say_close_notify(self) -> None:
        self._write_closed = True
        # unwrap() looks for the other's close_notify, too, and drops whatever it finds before it.
        if self._tls.pending():
            self._decrypted += self._tls.read(_RECORD_SIZE)
        held = b"" if self._incoming.eof else self._incoming.read()
        with contextlib.suppress(ssl.SSLError):
            self._tls.unwrap()
        if held:
            self._incoming.write(held)
        await self._send(self._tickets + self._outgoing.read())

    async def aclose(self) -> None:
        """Says close_notify, if nothing has been cut short before, and closes the transport.

        *Cancellation*: the transport is closed by force.
        """
        if self._closed:
            await trio.lowlevel.checkpoint()
            return
        try:
            if self._established and not self._broken and not self._write_closed:
                with contextlib.suppress(trio.BrokenResourceError, trio.ClosedResourceError):
                    async with self._turn:
                        await self._say_close_notify()
        finally:
            self._closed = True
            await self.transport_stream.aclose()


def _chain_of(connection: Any) -> list[bytes]:
    """What the client sent, in DER: Python 3.13 has a public name for what was there before."""
    public = getattr(connection, "get_unverified_chain", None)
    if public is not None:
        return list(public())
    private = getattr(getattr(connection, "_sslobj", None), "get_unverified_chain", None)
    chain = private() if private is not None else None
    return [ssl.PEM_cert_to_DER_cert(one.public_bytes()) for one in chain or ()]

# SPDX-License-Identifier: MIT
"""A WebSocket as an application's ``receive`` and ``send``.

The legal order of ``send()`` messages is the table at this file's end, as in exchange.py::

    CONNECTING ──accept──▶ OPEN ──close──▶ CLOSED
               ──close──▶ CLOSED (403)
               ──http.response.start──▶ DENIAL ──body──▶ CLOSED
    the client has closed it, or can't be reached: CLOSED from anywhere

Once it is CLOSED every send() raises an OSError (ASGI), whoever has closed it. No task belongs to
it: both methods run in whichever task the application calls them.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, ClassVar, Final

import trio

from trioserve.errors import AppProtocolError, ClientDisconnectedError
from trioserve.protocols.fields import check_status
from trioserve.protocols.websocket import check_close

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Iterable, Mapping

    from trioserve.asgi.websocket_carrier import Messages, WebSocketCarrier
    from trioserve.types import Message, Scope

__all__ = ["WebSocketExchange"]

#: As in exchange.py.
YIELD_COUNT: Final = 64


class WebSocketExchange:
    """One WebSocket, from its handshake to its end.

    Attributes:
        scope: the application's ASGI scope.
        status, headers: of the handshake's answer; status 0 before.
        body_size: of a denial's body, or of all messages (texts in characters) that were sent.
        accepted: the application has accepted it.
        response_complete: nothing more is to be sent: it is closed, or the denial is out.
        disconnected: the client has closed it, is leaving or gone.
        told: the application has been told so.
    """

    __slots__ = (
        "_answers",
        "_carrier",
        "_connected",
        "_messages",
        "_receiving",
        "_row",
        "_turns",
        "_waiters",
        "accepted",
        "body_size",
        "disconnected",
        "headers",
        "response_complete",
        "scope",
        "status",
        "told",
    )

    _ROWS: ClassVar[dict[str, Mapping[str, Handler]]]

    def __init__(self, carrier: WebSocketCarrier, scope: Scope) -> None:
        self._carrier = carrier
        self.scope = scope
        self._row = _CONNECTING
        self._connected = False  # the application has got websocket.connect
        self._messages: Messages | None = None
        self._receiving = False
        self._turns: trio.lowlevel.ParkingLot | None = None
        self._answers = 0
        self._waiters = trio.lowlevel.ParkingLot()
        self.status = 0
        self.headers: Iterable[tuple[bytes, bytes]] = ()
        self.body_size = 0
        self.accepted = False
        self.response_complete = False
        self.disconnected = False
        self.told = False

    # -- what the application calls ---------------------------------------------------------

    async def receive(self) -> Message:
        """The next ASGI event: websocket.connect, messages, then websocket.disconnect.

        *Cancellation*: no message is lost.
        """
        if not self._connected:
            self._connected = True
            return {"type": "websocket.connect"}
        while not self.accepted and not (self.disconnected or self.response_complete):
            await self._waiters.park()
        while self._receiving:  # an application that receives from two tasks at once
            if self._turns is None:
                self._turns = trio.lowlevel.ParkingLot()
            await self._turns.park()
        if self._messages is not None:
            self._receiving = True
            try:
                message = await self._messages.receive()
            finally:
                self._receiving = False
                if self._turns is not None:
                    self._turns.unpark_all()
            if message is not None:
                if isinstance(message, str):
                    return {"type": "websocket.receive", "text": message, "bytes": None}
                return {"type": "websocket.receive", "bytes": message, "text": None}
        return await self._disconnect_event()

    async def _disconnect_event(self) -> Message:
        self.told = True
        self._answers += 1
        if self._answers % YIELD_COUNT == 0:
            await trio.lowlevel.checkpoint()
        closed = self._carrier.closed
        return {"type": "websocket.disconnect", "code": closed.code, "reason": closed.reason}

    async def send(self, message: Message) -> None:
        """Takes the next ASGI message.

        Raises:
            AppProtocolError: a message, a value or an order that ASGI doesn't have. Nothing of it
                was sent.
            ClientDisconnectedError: it is closed (an OSError).

        *Cancellation*: a checkpoint at least every 64 KiB, and where the client is slow. A message
        that was cancelled half sent is the connection's end.
        """
        try:
            handler = self._row[message["type"]]
        except (KeyError, TypeError):
            raise self._illegal(message) from None
        try:
            waiting = handler(self, message)
            if waiting is not None:
                await waiting
        except (TypeError, ValueError, AttributeError) as exc:
            raise AppProtocolError(
                f"{message['type']!r} is malformed: a value is not what the specification has "
                f"there: {exc}"
            ) from exc
        except ClientDisconnectedError:
            self.told = True
            raise

    # -- what the connection calls ----------------------------------------------------------

    @property
    def response_started(self) -> bool:
        """Whether the handshake was answered."""
        return self.status != 0

    def disconnect(self, *, unreachable: bool) -> None:
        """The client has closed it, or is leaving; every further send() raises."""
        self._row = _CLOSED
        self.disconnected = True
        self._waiters.unpark_all()

    def complete(self) -> None:
        """Nothing more is to be sent."""
        self._row = _CLOSED
        self.response_complete = True
        self._waiters.unpark_all()

    # -- a handler for each message ---------------------------------------------------------

    def _accept(self, message: Message) -> Awaitable[None] | None:
        subprotocol = message.get("subprotocol")
        if subprotocol is not None and not isinstance(subprotocol, str):
            raise AppProtocolError(
                f'"subprotocol" of websocket.accept must be a str, got {subprotocol!r}'
            )
        headers = list(message.get("headers") or ())
        waiting = self._carrier.accept(subprotocol, headers)
        self.headers = headers
        self.accepted = True
        self._messages = self._carrier.messages
        self._row = _OPEN
        self._waiters.unpark_all()
        return waiting

    def _send(self, message: Message) -> Awaitable[None] | None:
        data = message.get("bytes")
        if data is None:
            data = message.get("text")
            if not isinstance(data, str):
                raise AppProtocolError(
                    'websocket.send must have "bytes" or "text" of its type, '
                    f"got text {type(data).__name__} and no bytes"
                )
        elif type(data) is not bytes:
            data = _as_bytes(data)
        assert self._messages is not None
        waiting = self._messages.send(data)
        self.body_size += len(data)
        return waiting

    def _close(self, message: Message) -> Awaitable[None] | None:
        closed = check_close(message.get("code"), message.get("reason"))
        self.complete()
        return self._carrier.close(closed)

    def _refuse(self, message: Message) -> Awaitable[None] | None:
        waiting = self._carrier.refuse(403, "")
        self.complete()
        return waiting

    def _start_denial(self, message: Message) -> None:
        status = check_status(message.get("status"))
        if status < 300:
            raise AppProtocolError(
                f"a denial has a status of 300 or more, got {status}: over HTTP/2 the others accept"
            )
        headers = list(message.get("headers", ()))
        self.headers, self.status = headers, status
        self._row = _DENIAL

    def _deny(self, message: Message) -> Awaitable[None] | None:
        body = message.get("body", b"")
        if type(body) is not bytes:
            body = _as_bytes(body)
        more = message.get("more_body", False)
        if self._row is _DENIAL:
            waiting = self._carrier.send_response(self.status, self.headers, body, more, False)
        else:
            waiting = self._carrier.send_body(body, more, False)
        self.body_size += len(body)
        if more:
            self._row = _DENIAL_BODY
        else:
            self.complete()
        return waiting

    async def _gone(self, message: Message) -> None:
        self._answers += 1
        if self._answers % YIELD_COUNT == 0:
            await trio.lowlevel.checkpoint()
        raise ClientDisconnectedError("the WebSocket is closed")

    def _illegal(self, message: Message) -> AppProtocolError:
        try:
            kind = message["type"]
        except (KeyError, TypeError):
            return AppProtocolError(f'an ASGI message is a dict with a "type", got {message!r}')
        state = next(name for name, row in self._ROWS.items() if row is self._row)
        legal = ", ".join(sorted(self._row))
        return AppProtocolError(f"the application sent {kind!r} {state}; legal there: {legal}")


def _as_bytes(data: Any) -> bytes:
    try:
        return bytes(memoryview(data))
    except TypeError:
        raise AppProtocolError(f'"bytes" must be bytes, got {type(data).__name__}') from None


if TYPE_CHECKING:
    Handler = Callable[[WebSocketExchange, Message], Awaitable[None] | None]

_CONNECTING: Mapping[str, Handler] = {
    "websocket.accept": WebSocketExchange._accept,
    "websocket.close": WebSocketExchange._refuse,
    "websocket.http.response.start": WebSocketExchange._start_denial,
}
_OPEN: Mapping[str, Handler] = {
    "websocket.send": WebSocketExchange._send,
    "websocket.close": WebSocketExchange._close,
}
_DENIAL: Mapping[str, Handler] = {"websocket.http.response.body": WebSocketExchange._deny}
_DENIAL_BODY: Mapping[str, Handler] = {"websocket.http.response.body": WebSocketExchange._deny}
_CLOSED: Mapping[str, Handler] = dict.fromkeys(
    (*_CONNECTING, *_OPEN, *_DENIAL), WebSocketExchange._gone
)

WebSocketExchange._ROWS = {
    "before websocket.accept": _CONNECTING,
    "after websocket.accept": _OPEN,
    "after websocket.http.response.start": _DENIAL,
    "while the body of its denial is under way": _DENIAL_BODY,
    "after the WebSocket was closed": _CLOSED,
}

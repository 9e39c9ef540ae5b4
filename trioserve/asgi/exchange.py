# SPDX-License-Identifier: MIT
"""An exchange: one request with its response, as an application's ``receive`` and ``send``.

The legal order of ``send()`` messages is the table at this file's end: a state's row names what may
come, and absent means illegal. ::

    START ──response.start──▶ BODY ──body, more──▶ MORE ──body──▶ DONE
                              (an early hint is legal in START only)
    with trailers announced:  … ──last body──▶ TRAILERS ──trailers──▶ DONE
    the client can't be reached any more: GONE from anywhere, and every send() raises

No task belongs to an exchange: both methods run in whichever task the application calls them.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, ClassVar, Final

import trio

from trioserve.errors import AppProtocolError, ClientDisconnectedError
from trioserve.protocols.fields import check_status

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Iterable, Mapping

    from trioserve.asgi.carrier import Carrier
    from trioserve.types import Message, Scope

__all__ = ["HttpExchange"]

#: An application that doesn't heed what it is told (the client has left) lets others run once in
#: so many calls. Not each time: frameworks poll receive() in a cancelled scope.
YIELD_COUNT: Final = 64


class HttpExchange:
    """One request and its response.

    Attributes:
        scope: the application's ASGI scope.
        status, headers: of the response, once the application gave them; status 0 before.
        body_size: bytes of body sent, framing not counted.
        response_started: the application has sent http.response.start.
        response_complete: the last byte of the response was handed to the transport.
        disconnected: the client is leaving or gone: receive() yields http.disconnect.
        told: the application has been told so, by receive() or by an error of send().
    """

    __slots__ = (
        "_answers",
        "_carrier",
        "_receiving",
        "_request_ended",
        "_row",
        "_trailers",
        "_turns",
        "_waiters",
        "body_size",
        "disconnected",
        "headers",
        "response_complete",
        "scope",
        "status",
        "told",
    )

    _ROWS: ClassVar[dict[str, Mapping[str, Handler]]]

    def __init__(self, carrier: Carrier, scope: Scope) -> None:
        self._carrier = carrier
        self.scope = scope
        self._row = _START
        self._request_ended = False
        self._answers = 0  # calls that were told "the client has left"
        self._trailers = False
        self._waiters: trio.lowlevel.ParkingLot | None = None
        self._receiving = False
        self._turns: trio.lowlevel.ParkingLot | None = None
        self.status = 0
        self.headers: Iterable[tuple[bytes, bytes]] = ()
        self.body_size = 0
        self.response_complete = False
        self.disconnected = False
        self.told = False

    @property
    def response_started(self) -> bool:
        """Whether http.response.start has come."""
        return self.status != 0

    # -- what the application calls ---------------------------------------------------------

    async def receive(self) -> Message:
        """The next ASGI event: http.request until the body has ended, then http.disconnect.

        *Cancellation*: what is known already is returned without a checkpoint, since frameworks
        poll this in a cancelled scope; nothing is lost when it is cancelled.
        """
        if not (self._request_ended or self.response_complete):
            event = await self._receive_body()
            if event is not None:
                return event
        while not (self.disconnected or self.response_complete):
            if self._waiters is None:
                self._waiters = trio.lowlevel.ParkingLot()
            await self._waiters.park()
        self.told = True
        self._answers += 1
        if self._answers % YIELD_COUNT == 0:
            await trio.lowlevel.checkpoint()
        return {"type": "http.disconnect"}

    async def _receive_body(self) -> Message | None:
        while self._receiving:  # an application that receives from two tasks at once
            if self._turns is None:
                self._turns = trio.lowlevel.ParkingLot()
            await self._turns.park()
        if self._request_ended:
            return None
        self._receiving = True
        try:
            part = await self._carrier.receive_body()
            if part is None:
                self._request_ended = True
                return None
            body, more = part
            self._request_ended = not more
            event = {"type": "http.request", "body": body, "more_body": more}
            if not more and self._carrier.request_trailers:
                event["trailers"] = self._carrier.request_trailers
            return event
        finally:
            self._receiving = False
            if self._turns is not None:
                self._turns.unpark_all()

    async def send(self, message: Message) -> None:
        """Takes the next ASGI message.

        Raises:
            AppProtocolError: a message, a value or an order that ASGI doesn't have. Nothing of it
                was sent.
            ClientDisconnectedError: the client has gone (an OSError, ASGI spec_version 2.4).

        *Cancellation*: a checkpoint at least every 64 KiB, and where the client is slow.
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
            raise self._malformed(message, exc) from exc
        except ClientDisconnectedError:
            self.told = True
            raise
        if self._row is _DONE and not self.response_complete:
            self.complete()

    # -- what the connection calls ----------------------------------------------------------

    def disconnect(self, *, unreachable: bool) -> None:
        """The client is leaving; if ``unreachable``, every further send() raises, too."""
        if unreachable and self._row is not _DONE:
            self._row = _GONE
        self.disconnected = True
        self._wake()

    def complete(self) -> None:
        """The response is out."""
        self.response_complete = True
        if self._waiters is not None:
            self._wake()
        self._carrier.response_completed()

    def _wake(self) -> None:
        if self._waiters is not None:
            self._waiters.unpark_all()

    # -- a handler for each message ---------------------------------------------------------

    def _start(self, message: Message) -> None:
        status = check_status(message.get("status"))
        headers = message.get("headers", ())
        if not isinstance(headers, (list, tuple)):
            headers = list(headers)  # any iterable is legal, and the access log reads them again
        self.headers = headers
        self.status = status
        self._trailers = message.get("trailers", False)
        self._row = _BODY

    def _first_body(self, message: Message) -> Awaitable[None] | None:
        body = message.get("body", b"")
        if type(body) is not bytes:
            body = _as_bytes(body)
        more = message.get("more_body", False)
        waiting = self._carrier.send_response(self.status, self.headers, body, more, self._trailers)
        self._count(len(body), more)
        return waiting

    def _more_body(self, message: Message) -> Awaitable[None] | None:
        body = message.get("body", b"")
        if type(body) is not bytes:
            body = _as_bytes(body)
        more = message.get("more_body", False)
        waiting = self._carrier.send_body(body, more, self._trailers)
        self._count(len(body), more)
        return waiting

    def _count(self, size: int, more: bool) -> None:
        self.body_size += size
        if self._row is _GONE:
            return
        self._row = _MORE if more else _TRAILERS if self._trailers else _DONE

    def _pathsend(self, message: Message) -> Awaitable[None]:
        path = message.get("path")
        if not isinstance(path, str):
            raise AppProtocolError(f'"path" of http.response.pathsend must be a str, got {path!r}')
        return self._send_file(path, None, None, more=False)

    def _zerocopysend(self, message: Message) -> Awaitable[None]:
        file = message.get("file")
        if not hasattr(file, "fileno"):
            raise AppProtocolError(
                '"file" of http.response.zerocopysend must be a file with a descriptor, '
                f"got {file!r}"
            )
        offset, count = message.get("offset"), message.get("count")
        for name, value in (("offset", offset), ("count", count)):
            if value is not None and (not isinstance(value, int) or value < 0):
                raise AppProtocolError(
                    f'"{name}" of http.response.zerocopysend must be an int of 0 or more, '
                    f"got {value!r}"
                )
        return self._send_file(file, offset, count, more=message.get("more_body", False))

    async def _send_file(
        self, file: Any, offset: int | None, count: int | None, *, more: bool
    ) -> None:
        row = self._row
        head = (self.status, self.headers) if row is _BODY else None
        self._row = _FILE  # nothing else may come between the parts of it
        try:
            size = await self._carrier.send_file(head, file, offset, count, more, self._trailers)
        except BaseException:
            if self._row is _FILE:
                self._row = row
            raise
        self._count(size, more)

    def _trailer_fields(self, message: Message) -> Awaitable[None] | None:
        more = message.get("more_trailers", False)
        waiting = self._carrier.send_trailers(message.get("headers", ()), more)
        if not more and self._row is _TRAILERS:
            self._row = _DONE
        return waiting

    def _early_hint(self, message: Message) -> Awaitable[None] | None:
        if "http.response.early_hint" not in self.scope["extensions"]:
            return None  # HTTP/1.0 knows no interim responses: a hint is only a hint
        links = [(b"link", link) for link in message.get("links", ())]
        return self._carrier.send_interim(103, links)

    def _informational(self, message: Message) -> Awaitable[None] | None:
        """gunicorn's message for interim responses of any kind."""
        status = message.get("status")
        if not isinstance(status, int) or not 100 <= status <= 199 or status == 101:
            raise AppProtocolError(
                '"status" of http.response.informational must be an int from 100 to 199, and not '
                f"101, got {status!r}"
            )
        if "http.response.early_hint" not in self.scope["extensions"]:
            return None
        return self._carrier.send_interim(status, message.get("headers", ()))

    async def _gone(self, message: Message) -> None:
        self._answers += 1
        if self._answers % YIELD_COUNT == 0:
            await trio.lowlevel.checkpoint()
        raise ClientDisconnectedError("the client has disconnected")

    # -- errors -----------------------------------------------------------------------------

    def _illegal(self, message: Message) -> AppProtocolError:
        try:
            kind = message["type"]
        except (KeyError, TypeError):
            return AppProtocolError(f'an ASGI message is a dict with a "type", got {message!r}')
        state = next(name for name, row in self._ROWS.items() if row is self._row)
        legal = ", ".join(sorted(self._row)) or "nothing"
        return AppProtocolError(f"the application sent {kind!r} {state}; legal there: {legal}")

    def _malformed(self, message: Message, exc: Exception) -> AppProtocolError:
        """A value of the wrong type, where the checks that name the value don't look."""
        kind = message["type"]
        expected = "a value is not what the specification has there"
        if self._row is _BODY:
            # The head leaves with the first of the body, and only then it is looked at.
            kind = "http.response.start"
            expected = '"headers" must be an iterable of (name, value) pairs of bytes'
        return AppProtocolError(f"{kind!r} is malformed: {expected}: {exc}")


def _as_bytes(body: object) -> bytes:
    """A body given as another object with bytes: a bytearray, a view of anything."""
    try:
        return bytes(memoryview(body))  # type: ignore[arg-type]
    except TypeError:
        raise AppProtocolError(f'"body" must be bytes, got {type(body).__name__}') from None


if TYPE_CHECKING:
    Handler = Callable[[HttpExchange, Message], Awaitable[None] | None]

_START: Mapping[str, Handler] = {
    "http.response.start": HttpExchange._start,
    "http.response.early_hint": HttpExchange._early_hint,
    "http.response.informational": HttpExchange._informational,
}
_BODY: Mapping[str, Handler] = {
    "http.response.body": HttpExchange._first_body,
    "http.response.pathsend": HttpExchange._pathsend,
    "http.response.zerocopysend": HttpExchange._zerocopysend,
}
_MORE: Mapping[str, Handler] = {
    "http.response.body": HttpExchange._more_body,
    "http.response.pathsend": HttpExchange._pathsend,
    "http.response.zerocopysend": HttpExchange._zerocopysend,
}
_TRAILERS: Mapping[str, Handler] = {"http.response.trailers": HttpExchange._trailer_fields}
_FILE: Mapping[str, Handler] = {}
_DONE: Mapping[str, Handler] = {}
_GONE: Mapping[str, Handler] = dict.fromkeys((*_START, *_BODY, *_TRAILERS), HttpExchange._gone)

HttpExchange._ROWS = {
    "before http.response.start": _START,
    "after http.response.start": _BODY,
    "while its body is under way": _MORE,
    "while a file of its body is being sent": _FILE,
    "where its announced trailers are due": _TRAILERS,
    "after its response was complete": _DONE,
    "after the client had left": _GONE,
}

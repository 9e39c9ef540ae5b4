# SPDX-License-Identifier: MIT
"""A chat. Its rooms are keys of the stash, so they outlive this process, and any number of server
processes can share them. README.md beside this file has the protocol and the decisions.

make run EXAMPLE=chat
trioserve app:app --app-dir examples/chat --config examples/chat/trioserve.toml

Tasks: ``follow``, one a process and the lifespan's, puts each change of the stash into the outboxes
of the room's members. A WebSocket has a nursery of three: ``listen`` takes to the stash what its
client says, ``pass_on`` sends to the client what lies in its outbox, ``stay_present`` keeps its key
alive. Whichever of the first two ends, ends the others.
"""

from __future__ import annotations

import logging
import re
import secrets
import time
from contextlib import asynccontextmanager, contextmanager, suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any

import trio
from starlette.applications import Starlette
from starlette.responses import FileResponse
from starlette.routing import Route, WebSocketRoute

from trioserve.dirty import DirtyError, open_dirty_client

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Iterator

    from starlette.websockets import WebSocket

    from trioserve.dirty.stash import AsyncStash

Event = dict[str, Any]
Outbox = trio.MemorySendChannel[tuple[str, Event]]  # with the key that it is of, "" for an error
Inbox = trio.MemoryReceiveChannel[tuple[str, Event]]  # the other end of an outbox

PAGE = Path(__file__).parent / "page.html"
ROOM = re.compile("[a-z0-9-]{1,24}")  # no "/", and nothing that means something in a pattern
MAX_NAME, MAX_TEXT = 24, 1000  # characters
MAX_HISTORY, MAX_WAITING = 50, 100  # messages that a room keeps, events that wait for a member
KEEP, PRESENCE = 86400.0, 30.0  # seconds of a message, and of a member whose process was killed

TABLE = "chat"  # ROOM/message/NUMBER → {"name", "text", "at"}; ROOM/member/ID → {"name"}
NUMBERS = "chat-numbers"  # ROOM → the number of its latest message
NEW, GONE = {"message": "message", "member": "joined"}, {"member": "left"}
log = logging.getLogger("chat")


def event_of(op: str, key: str, value: Event | None) -> Event:
    """A change of the stash, as clients are told it. Its type is None if they are not."""
    _, kind, ident = key.split("/")
    return {"type": (NEW if op == "put" else GONE).get(kind), "id": ident, **(value or {})}


class Rooms:
    """The outboxes of this process's members. ``followed`` is set once changes come in here."""

    def __init__(self) -> None:
        self.followed = trio.Event()
        self._outboxes: dict[str, set[Outbox]] = {}

    @contextmanager
    def enter(self, room: str) -> Iterator[tuple[Outbox, Inbox]]:
        """A new member's outbox: all of the room's events from here on, until it is closed."""
        outbox, inbox = trio.open_memory_channel[tuple[str, Event]](MAX_WAITING)
        self._outboxes.setdefault(room, set()).add(outbox)
        try:
            yield outbox, inbox
        finally:
            self._outboxes[room].remove(outbox)
            if not self._outboxes[room]:
                del self._outboxes[room]

    def tell(self, key: str, event: Event) -> None:
        for outbox in self._outboxes.get(key.partition("/")[0], ()):
            put(outbox, key, event)

    def send_back(self) -> None:
        """Makes everybody come again: there may be events that they have not seen."""
        for outboxes in self._outboxes.values():
            for outbox in outboxes:
                outbox.close()


def put(outbox: Outbox, key: str, event: Event) -> None:
    """Never waits: who is slow holds up nobody. A full outbox gets nothing more; once its owner
    has read what is in it, ``pass_on`` sends them away with a reason."""
    try:
        outbox.send_nowait((key, event))
    except trio.WouldBlock:
        outbox.close()
    except trio.ClosedResourceError:
        pass  # it was full before


async def follow(stash: AsyncStash, rooms: Rooms) -> None:
    while True:
        try:
            async with stash.watch(TABLE) as changes:
                rooms.send_back()  # nobody watched before; who enters from now on misses nothing
                rooms.followed.set()
                async for op, key, value in changes:
                    if key is None:  # this process was too slow for some, or the table is empty
                        break
                    if (event := event_of(op, key, value))["type"]:
                        rooms.tell(key, event)
                    await trio.lowlevel.checkpoint()  # many may come at once: pass_on has its turn
        except DirtyError as exc:
            log.warning("the stash can't be watched: %s", exc)
        await trio.sleep(1)


async def chat(ws: WebSocket) -> None:
    # Accepted whatever was asked for: of a handshake that is refused a browser tells its page
    # nothing, of a Close frame the code and the reason.
    await ws.accept()
    room, name = (ws.query_params.get(key, "").strip() for key in ("room", "name"))
    if not (ROOM.fullmatch(room) and 0 < len(name) <= MAX_NAME and name.isprintable()):
        await ws.close(1008, "room: 1 to 24 of a-z, 0-9, -; name: 1 to 24 printable characters")
        return
    stash, member = ws.state.stash, f"{room}/member/{secrets.token_hex(8)}"
    with ws.state.rooms.enter(room) as (outbox, inbox):
        try:
            # First the outbox, then the state: what changes in between comes twice, see pass_on.
            await stash.put(TABLE, member, {"name": name}, ttl=PRESENCE)
            state = {key: value async for key, value in stash.items(TABLE, f"{room}/*")}
            events = [event_of("put", key, value) for key, value in state.items()]
            await ws.send_json({"type": "welcome", "events": events})
            async with trio.open_nursery() as nursery:
                nursery.start_soon(stay_present, stash, member, name)
                nursery.start_soon(pass_on, ws, inbox, set(state), nursery.cancel_scope)
                await listen(ws, outbox, stash, room, name)
                nursery.cancel_scope.cancel()
        except DirtyError as exc:  # of the put and the items: the tasks see to their own
            log.warning("nobody can enter: %s", exc)
            await ws.close(1013, "the history can't be reached")
        finally:
            with trio.move_on_after(1, shield=True), suppress(DirtyError):
                await stash.delete(TABLE, member)  # cancelled or not; if it fails, the ttl does it


async def listen(ws: WebSocket, outbox: Outbox, stash: AsyncStash, room: str, name: str) -> None:
    while (message := await ws.receive())["type"] != "websocket.disconnect":
        text = (message.get("text") or "").strip()
        if not 0 < len(text) <= MAX_TEXT:
            put(outbox, "", {"type": "error", "text": f"a text has 1 to {MAX_TEXT} characters"})
            continue
        try:
            await say(stash, room, {"name": name, "text": text, "at": time.time()})
        except DirtyError as exc:
            log.warning("a message was not stored: %s", exc)
            put(outbox, "", {"type": "error", "text": "that could not be delivered"})


async def say(stash: AsyncStash, room: str, message: Event) -> None:
    """Any number of writers at once: each has a number, so a key, that no one else writes."""
    number = await stash.incr(NUMBERS, room)
    await stash.expire(NUMBERS, room, 2 * KEEP)  # none is used again while its message is kept
    await stash.put(TABLE, f"{room}/message/{number}", message, ttl=KEEP)
    await stash.delete(TABLE, f"{room}/message/{number - MAX_HISTORY}")


async def pass_on(ws: WebSocket, inbox: Inbox, known: set[str], scope: trio.CancelScope) -> None:
    async for key, event in inbox:
        if event["type"] == "left":
            known.discard(key)
        elif key in known:  # the welcome had it
            continue
        await ws.send_json(event)
    # Not 1008: no rule was broken. "Try again later" brings the client back to a fresh history.
    await ws.close(1013, "some messages were missed: come back for the history")
    scope.cancel()


async def stay_present(stash: AsyncStash, member: str, name: str) -> None:
    while True:
        await trio.sleep(PRESENCE / 3)
        with suppress(DirtyError):
            if not await stash.expire(TABLE, member, PRESENCE):  # nobody could reach the stash
                await stash.put(TABLE, member, {"name": name}, ttl=PRESENCE)


@asynccontextmanager
async def lifespan(app: Starlette) -> AsyncIterator[dict[str, Any]]:
    # This server's own stash, or that of the server whose socket TRIOSERVE_DIRTY_SOCKET names.
    async with open_dirty_client() as client, trio.open_nursery() as nursery:
        rooms = Rooms()
        nursery.start_soon(follow, client.stash, rooms)
        await rooms.followed.wait()
        yield {"stash": client.stash, "rooms": rooms}
        nursery.cancel_scope.cancel()


routes = [Route("/", lambda request: FileResponse(PAGE)), WebSocketRoute("/ws", chat)]
app = Starlette(lifespan=lifespan, routes=routes)

# SPDX-License-Identifier: MIT
"""One case in one mode: what is sent, what must come back, and what was wrong with it.

==========  ==========================================================================
whole       one segment
pieces      a byte a segment; long cases in two hundred pieces
pipelined   in one segment with a good request before it and, if the connection goes
            on, one after it
trailing    in one segment with a request after it that must never be seen: for cases
            that close and have an end
==========  ==========================================================================
"""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Literal, TypeAlias

import trio

from .client import Answer, Client, MalformedAnswerError
from .corpus.case import Case, Reply, Seen, get

if TYPE_CHECKING:
    from collections.abc import Iterator

    from .echo import Echo

__all__ = ["MODES", "Conversation", "Mode", "fits"]

Mode: TypeAlias = Literal["whole", "pieces", "pipelined", "trailing"]

MODES: tuple[Mode, ...] = ("whole", "pieces", "pipelined", "trailing")

BEFORE = get(target=b"/before")
#: It closes, so that whatever follows its answer is a surplus and can't be waited for in vain.
AFTER = get(b"Connection: close", target=b"/after")
NEVER = get(target=b"/smuggled")

#: Up to this length a byte is a piece; above it a case is in two hundred pieces.
BYTEWISE = 400


def fits(case: Case, mode: Mode) -> bool:
    """Whether the mode has a meaning for the case."""
    if mode == "trailing":
        return case.fate == "close" and not (case.half_close or case.endless)
    return True


class Conversation:
    """One case in one mode.

    Attributes:
        faults: What was wrong, a line each.
        answers: What came, in order; the answer to `AFTER` included.
    """

    def __init__(self, case: Case, mode: Mode, echo: Echo) -> None:
        self.case = case
        self.echo = echo
        self.faults: list[str] = []
        self.answers: list[Answer] = []
        self.in_pieces = mode == "pieces"
        self.pipelined = mode == "pipelined"
        before = BEFORE if self.pipelined else b""
        after = NEVER if mode == "trailing" else b""
        if self.pipelined and case.fate != "close":
            after = AFTER
        waits = bool(case.after_continue)
        self.first = before + case.raw + (b"" if waits else after)
        self.second = case.after_continue + after if waits else b""
        self.expected = list(case.expect)
        if self.pipelined:
            self.expected.insert(0, Reply(status=200, sees=Seen(path="/before")))

    @property
    def progress(self) -> str:
        got = [answer.status for answer in self.answers]
        return f"answers so far {got} of {[reply.status for reply in self.expected]}"

    async def hold(self, client: Client) -> None:
        """Send, read and judge; `faults` has the outcome."""
        # A port can come again, from a connection that is over.
        self.echo.seen[client.port] = []
        async with trio.open_nursery() as nursery:
            nursery.start_soon(self._send, client)
            try:
                going_on = await self._read(client)
            except MalformedAnswerError as error:
                self.faults.append(f"malformed answer ({error}); {self.progress}")
                going_on = False
            if not going_on:
                nursery.cancel_scope.cancel()
        if going_on:
            await self._go_on(client)
        self._compare_with_what_the_app_saw(client.port)

    async def _send(self, client: Client) -> None:
        for data in (self.first, self.second):
            size = len(data) or 1
            if self.in_pieces:
                size = 1 if len(data) <= BYTEWISE else len(data) // 200
            await client.send(data, size)
            if self.case.half_close:
                await client.send_eof()
            if not self.second:
                return
            await client.continued.wait()

    async def _read(self, client: Client) -> bool:
        """Read all that must come; whether the connection should still be good then."""
        if self.case.half_close:
            await self._read_to_the_end(client)
            return False
        for reply in self.expected:
            answer = await client.answer(head=reply.head)
            if answer is None:
                self.faults.append(f"the connection ended; {self.progress}")
                return False
            self.answers.append(answer)
            self.faults.extend(self._wrong(reply, answer))
            if answer.status not in reply.statuses:
                # What follows would only be noise.
                return False
        if self.case.fate != "close":
            return True
        if surplus := await client.rest():
            self.faults.append(f"surplus after the last answer: {surplus[:80]!r}")
        return False

    async def _read_to_the_end(self, client: Client) -> None:
        """A message was cut short: at most one refusal may come, but for those before it."""
        while answer := await client.answer():
            self.answers.append(answer)
        got = [answer.status for answer in self.answers]
        want = [reply.status for reply in self.expected]
        refusal = got[len(want) :]
        if got[: len(want)] != want or len(refusal) > 1 or any(s // 100 != 4 for s in refusal):
            self.faults.append(f"expected {want} and at most one 4xx, got {got}")

    async def _go_on(self, client: Client) -> None:
        """A further request must be answered, and nothing after it."""
        if not self.pipelined:
            await client.send(AFTER, len(AFTER))
        try:
            answer = await client.answer()
        except MalformedAnswerError as error:
            self.faults.append(f"malformed answer to a further request ({error})")
            return
        if answer is None:
            if self.case.fate == "keep":
                self.faults.append("the connection ended instead of going on")
            return
        self.answers.append(answer)
        if answer.status != 200:
            self.faults.append(f"a further request got {answer.status}")
        if surplus := await client.rest():
            self.faults.append(f"surplus after a further request: {surplus[:80]!r}")

    def _wrong(self, reply: Reply, answer: Answer) -> Iterator[str]:
        """What is wrong with this answer, by itself and by its place."""
        number = f"answer {len(self.answers)}"
        if answer.status not in reply.statuses:
            detail = answer.body[:80]
            yield f"{number}: expected {reply.status}, got {answer.status} {detail!r}"
            return
        if answer.version != b"1.1":
            yield f"{number}: HTTP/{answer.version.decode()}, not the highest that we speak"
        if not answer.reason:
            yield f"{number}: no reason phrase"
        last = reply is self.expected[-1] and len(self.answers) == len(self.expected)
        closes = b"close" in answer.options
        if not last and closes:
            yield f"{number}: announces close, but is not the last"
        if last and self.case.fate == "close" and reply.announces_close and not closes:
            yield f"{number}: does not announce close"
        if last and self.case.fate == "keep" and closes:
            yield f"{number}: announces close"
        yield from self._wrong_interim(reply, answer, number, last=last)
        if answer.status >= 400:
            yield from _wrong_refusal(reply, answer, number)
        if answer.status == 200 and not (reply.head or answer.body):
            yield f"{number}: no content"
        if answer.status == 204 and answer.values(b"content-length"):
            yield f"{number}: Content-Length in a 204"
        if answer.status in (204, 304) and answer.values(b"transfer-encoding"):
            yield f"{number}: Transfer-Encoding in a {answer.status}"

    def _wrong_interim(
        self, reply: Reply, answer: Answer, number: str, *, last: bool
    ) -> Iterator[str]:
        wanted = [100] if last and self.case.after_continue else []
        optional = self.in_pieces and reply.may_continue
        if answer.interim != wanted and not (optional and answer.interim == [100]):
            yield f"{number}: expected 1xx {wanted}, got {answer.interim}"

    def _compare_with_what_the_app_saw(self, port: int) -> None:
        """The application saw the requests that were answered: these, and no other."""
        seen = self.echo.seen[port]
        answered = [answer for answer in self.answers if answer.status < 400]
        if len(seen) != len(answered):
            paths = [request["path"] for request in seen]
            self.faults.append(f"{len(answered)} requests were answered, the app saw {paths}")
            return
        replies = [reply for reply in self.expected if min(reply.statuses) < 400]
        for number, (reply, request) in enumerate(zip(replies, seen, strict=False), 1):
            for key, expected in reply.sees.items():
                if (got := dict(request)[key]) != expected:
                    self.faults.append(
                        f"the app saw in request {number} as {key} {_short(got)}, "
                        f"not {_short(expected)}"
                    )
        for answer, request in zip(answered, seen, strict=True):
            if answer.body and json.loads(answer.body) != json.loads(json.dumps(request)):
                self.faults.append(f"the answer to {request['path']} is to another request")
            kept = b"keep-alive" in answer.options
            if request["http_version"] == "1.0" and not (kept or b"close" in answer.options):
                self.faults.append("an answer to HTTP/1.0 says neither keep-alive nor close")


def _short(value: object) -> str:
    text = repr(value)
    return text if len(text) <= 120 else f"{text[:120]}… ({len(text)} characters)"


def _wrong_refusal(reply: Reply, answer: Answer, number: str) -> Iterator[str]:
    """A refusal says why in text/plain of a known length."""
    if not answer.values(b"content-type") or not answer.values(b"content-type")[0].startswith(
        b"text/plain"
    ):
        yield f"{number}: content-type {answer.values(b'content-type')}, not text/plain"
    if len(answer.values(b"content-length")) != 1:
        yield f"{number}: content-length {answer.values(b'content-length')}"
    if not reply.head and not answer.body:
        yield f"{number}: no text says what was wrong"

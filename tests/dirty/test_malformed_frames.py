# SPDX-License-Identifier: MIT
"""What a client can't say: it gets an ERROR that tells it, and then the close."""

from __future__ import annotations

import struct
from typing import TYPE_CHECKING, Any

import pytest
import trio
import trio.testing

from tests.dirty.fake_backend import REQUEST, answer, serving
from trioserve.dirty import frames, tlv
from trioserve.dirty.errors import (
    DirtyProtocolError,
)
from trioserve.dirty.frames import FrameType, StashOp

if TYPE_CHECKING:
    import logging

    from trioserve.dirty.calls import Call


def messages(records: list[logging.LogRecord]) -> list[str]:
    """What the log says of clients."""
    return [record.getMessage() for record in records]


GARBAGE = b"GET / HTTP/1.1\r\nhost: localhost\r\n\r\n"


def header(*, magic: bytes = b"GD", version: int = 1, kind: int = 1, size: int = 0) -> bytes:
    return struct.pack(">2sBBIQ", magic, version, kind, size, 5)


def with_payload(frame_type: int, value: Any) -> bytes:
    return b"".join(frames.frame(frame_type, 5, tlv.encode(value)))


MALFORMED = {
    "another protocol": (GARBAGE, 0, 'begins with "GD"'),
    "another version": (header(version=2), 0, "expected version 1"),
    "no type": (header(kind=0x7F), 5, "0x7f is no frame type"),
    "too long": (header(size=0x7FFFFFFF), 5, "dirty_max_frame_size is"),
    "no dict": (with_payload(FrameType.REQUEST, [1]), 5, "expected a dict"),
    "no value": (b"".join(frames.frame(FrameType.REQUEST, 5, b"\xff")), 5, "expected a dict"),
    "nothing": (header(), 5, "expected a dict"),
    "stash of nothing": (header(kind=FrameType.STASH), 5, "expected a dict"),
    "a hello that is no dict": (with_payload(FrameType.HELLO, 1), 5, "expected a dict"),
    **{
        f"a worker's frame {kind:#x}": (header(kind=kind), 5, "a client can't send a frame")
        for kind in (
            FrameType.RESPONSE,
            FrameType.ERROR,
            FrameType.CHUNK,
            FrameType.END,
            FrameType.PING,
            FrameType.PONG,
            FrameType.DRAIN,
            FrameType.REVOKE,
            FrameType.TASKS,
        )
    },
}


#: Frames that are frames, but for what one of their fields holds.
WRONG = {
    "no app": (with_payload(FrameType.REQUEST, {"action": "run"}), 5, "app_path to be a str"),
    "no action": (with_payload(FrameType.REQUEST, {"app_path": "a:App"}), 5, "action to be a str"),
    "app is no str": (
        with_payload(FrameType.REQUEST, {"app_path": 1, "action": "run"}),
        5,
        "app_path to be a str",
    ),
    "no time": (
        b"".join(frames.request(5, "a:App", "run", timeout=0.0)),
        5,
        "timeout to be above 0",
    ),
    "no number": (
        with_payload(FrameType.REQUEST, {"app_path": "a:B", "action": "x", "timeout": "1"}),
        5,
        "timeout to be a float",
    ),
    "no parent": (
        with_payload(FrameType.REQUEST, {"app_path": "a:B", "action": "x", "trace": {"call": -1}}),
        5,
        "of a trace to be an id",
    ),
    "no trace": (
        with_payload(FrameType.REQUEST, {"app_path": "a:B", "action": "x", "trace": 3}),
        5,
        "trace to be a dict",
    ),
    "no operation": (
        with_payload(FrameType.STASH, {"table": "t"}),
        5,
        "stash operation None is unknown",
    ),
    "operation is no int": (
        with_payload(FrameType.STASH, {"op": "1", "table": "t"}),
        5,
        "stash operation '1' is unknown",
    ),
    "no table": (
        with_payload(FrameType.STASH, {"op": 1}),
        5,
        "a table's name is a str, not NoneType",
    ),
    "no count": (
        with_payload(FrameType.MANAGE, {"op": 1, "count": "2"}),
        5,
        "'op' and 'count' of a MANAGE to be ints",
    ),
    "no credit": (with_payload(FrameType.CREDIT, {"bytes": 0}), 5, "to be 1 or more"),
    "a time beyond all floats": (
        with_payload(FrameType.REQUEST, {"app_path": "a:B", "action": "x", "timeout": -(10**5000)}),
        5,
        "timeout to be above 0",
    ),
    "table is no str": (
        with_payload(FrameType.STASH, {"op": 1, "table": 5, "key": "k"}),
        5,
        "a table's name is a str, not int",
    ),
    "a ttl beyond all floats": (
        with_payload(FrameType.STASH, {"op": 1, "table": "t", "key": "k", "ttl": 10**400}),
        5,
        "a ttl is in seconds",
    ),
    "a ttl that can't be written": (
        with_payload(FrameType.STASH, {"op": 1, "table": "t", "key": "k", "ttl": -(10**5000)}),
        5,
        "a ttl is in seconds, a number above 0 that a float can hold, not <int>",
    ),
    "credit beyond all measure": (
        with_payload(FrameType.CREDIT, {"bytes": 2**80}),
        5,
        "less than 2**63",
    ),
    "a status that says something": (with_payload(FrameType.STATUS, {}), 5, "has no payload"),
    "a status of junk": (
        b"".join(frames.frame(FrameType.STATUS, 5, b"\xff\xff")),
        5,
        "STATUS has no payload, got 2 bytes",
    ),
}


@pytest.mark.parametrize("name", WRONG)
async def test_what_is_wrong_with_one_request_is_its_answer_and_ends_nothing_else(
    name: str, records: list[logging.LogRecord]
) -> None:
    data, request_id, expected = WRONG[name]
    async with serving(hello=True) as served:
        await served.peer.send(REQUEST)
        await served.peer.send_bytes(data)
        error = await served.peer.error(request_id)
        assert expected in str(error)
        answer(await served.backend.submitted(), "well")
        assert await served.peer.result(1) == "well"
        await served.all_handled()
        assert served.session.calls == {}
    assert messages(records) == []


async def test_a_wrong_credit_ends_its_call() -> None:
    async with serving(hello=True) as served:
        await served.peer.send(REQUEST)
        call = await served.backend.submitted()
        await served.peer.send_bytes(
            b"".join(frames.frame(FrameType.CREDIT, 1, tlv.encode({"bytes": 0})))
        )
        assert "1 or more" in str(await served.peer.error(1))
        assert served.backend.cancelled == [call]
        await served.peer.send(REQUEST)  # its id is free
        answer(await served.backend.submitted(), "well")
        assert await served.peer.result(1) == "well"


@pytest.mark.parametrize("kind", ["request", "stash", "status"])
async def test_a_fault_of_ours_ends_one_request_and_is_logged_once(
    kind: str, records: list[logging.LogRecord], monkeypatch: pytest.MonkeyPatch
) -> None:
    async with serving(hello=True) as served:
        await served.peer.send(frames.request(7, "a:App", "run"))
        other = await served.backend.submitted()

        def fail(*_: object) -> None:
            raise ZeroDivisionError("a fault of ours")

        with monkeypatch.context() as patched:
            if kind == "request":
                patched.setattr(served.backend, "submit", fail)
                await served.peer.send(REQUEST)
            elif kind == "stash":
                patched.setattr(served.tables, "get", fail)
                await served.peer.send(frames.stash(1, StashOp.GET, "t", "k"))
            else:
                patched.setattr(served.backend, "status", fail)
                await served.peer.send(frames.status(1))
            assert "its log says how" in str(await served.peer.error(1))
        answer(other, "well")
        assert await served.peer.result(7) == "well"
        assert served.session.calls == {}
        await served.all_handled()
    (record,) = records
    assert record.exc_info is not None


async def test_a_call_that_cannot_be_ended_keeps_no_other_from_it(
    records: list[logging.LogRecord],
) -> None:
    async with serving(hello=True) as served:
        await served.peer.send(*(frames.request(id, "a:App", "run") for id in range(3)))
        calls = [await served.backend.submitted() for _ in range(3)]
        cancel, cancelled = served.backend.cancel, []

        def fail_once(call: Call) -> None:
            cancelled.append(call)
            if call is calls[0]:
                raise ValueError("it is not in the deque")
            cancel(call)

        served.backend.cancel = fail_once  # type: ignore[method-assign]
    assert cancelled == calls
    assert [record.exc_info is not None for record in records] == [True]


@pytest.mark.parametrize("name", MALFORMED)
@pytest.mark.parametrize("way", ["alone", "after a request", "byte by byte"])
async def test_what_is_malformed_gets_an_error_then_the_close(
    name: str, way: str, records: list[logging.LogRecord]
) -> None:
    data, request_id, expected = MALFORMED[name]
    async with serving() as served:
        if way == "after a request":
            data = b"".join(frames.request(2, "a:App", "run")) + data
        if way == "byte by byte":
            for byte in data[:60]:
                await served.peer.send_bytes(bytes((byte,)))
                await trio.testing.wait_all_tasks_blocked()
                if served.ended.is_set():
                    break
            else:
                await served.peer.send_bytes(data[60:])
        else:
            await served.peer.send_bytes(data)
        error = await served.peer.error(request_id)
        assert isinstance(error, DirtyProtocolError)
        assert expected in str(error)
        with pytest.raises(EOFError):
            await served.peer.receive()
        await served.ended.wait()
        if way == "after a request":
            assert served.backend.cancelled == [await served.backend.submitted()]
        assert served.backend.waiting == 0
    assert len(records) == 1
    assert expected in messages(records)[0]


@pytest.mark.parametrize("frame", [REQUEST, frames.stash(1, StashOp.WATCH, "t")])
@pytest.mark.parametrize("first", [REQUEST, frames.stash(1, StashOp.WATCH, "t")])
async def test_an_id_that_is_in_use_is_malformed(
    first: frames.Parts, frame: frames.Parts, records: list[logging.LogRecord]
) -> None:
    async with serving(hello=True) as served:
        await served.peer.send(first)
        if first is not REQUEST:
            await served.peer.receive()
        await served.peer.send(frame)
        error = await served.peer.error(1)
        assert isinstance(error, DirtyProtocolError)
        assert "request id 1 is in use" in str(error)
        with pytest.raises(EOFError):
            await served.peer.receive()
    assert len(records) == 1


async def test_an_end_in_the_middle_of_a_frame_is_an_end(records: list[logging.LogRecord]) -> None:
    async with serving() as served:
        await served.peer.send(REQUEST)
        await served.peer.send_bytes(header(size=100) + b"half")
        await served.backend.submitted()
    assert messages(records) == []

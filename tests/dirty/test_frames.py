# SPDX-License-Identifier: MIT
"""Frames: encoders, decoders, and the reader at every place where a stream can be cut.

gunicorn's bytes are in test_wire_vectors.
"""

from __future__ import annotations

import inspect
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.dirty.values import same, texts, values
from trioserve.dirty import errors, frames, tlv
from trioserve.dirty.errors import (
    DirtyAppError,
    DirtyError,
    DirtyOverloadedError,
    DirtyProtocolError,
    DirtyTimeoutError,
    StashKeyNotFoundError,
)
from trioserve.dirty.frames import Frame, FrameReader, FrameType, Request, StashOp

ERROR_CLASSES = [
    kind for _, kind in inspect.getmembers(errors, inspect.isclass) if issubclass(kind, DirtyError)
]
KIBIBYTE = 1024


def read(parts: frames.Parts) -> Frame:
    """The one frame of the parts."""
    reader = FrameReader()
    [frame] = reader.feed(b"".join(parts))
    reader.eof()
    return frame


def payload_of(parts: frames.Parts) -> bytes | memoryview:
    return read(parts)[2]


# -- encoders -------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("parts", "frame_type", "payload"),
    [
        (frames.end(7), FrameType.END, None),
        (frames.status(7), FrameType.STATUS, None),
        (frames.cancel(7), FrameType.CANCEL, None),
        (frames.revoke(7), FrameType.REVOKE, None),
        (frames.ping(7), FrameType.PING, None),
        (frames.pong(7), FrameType.PONG, None),
        (frames.drain(7), FrameType.DRAIN, None),
        (frames.tasks(7), FrameType.TASKS, None),
        (frames.tasks(7, {"tree": "{}"}), FrameType.TASKS, {"tree": "{}"}),
        (frames.credit(7, 100), FrameType.CREDIT, {"bytes": 100}),
        (frames.hello({"role": "client"}, 7), FrameType.HELLO, {"role": "client"}),
        (
            frames.manage(7, frames.MANAGE_OPERATIONS["add"]),
            FrameType.MANAGE,
            {"op": 1, "count": 1},
        ),
        (frames.frame(FrameType.END, 7), FrameType.END, None),
        (frames.frame(FrameType.CHUNK, 7, b"\x00"), FrameType.CHUNK, None),
        (frames.frame(FrameType.CHUNK, 7, [b"\x20", b"\0\0\0\0"]), FrameType.CHUNK, []),
    ],
)
def test_a_frame_has_its_type_id_and_payload(
    parts: frames.Parts, frame_type: int, payload: Any
) -> None:
    came = read(parts)
    assert came[:2] == (frame_type, 7)
    assert (tlv.decode(came[2]) if came[2] else None) == payload


def test_a_stash_operation_leaves_out_what_is_none() -> None:
    parts = frames.stash(1, StashOp.PUT, "t", "k", 0, ttl=None)
    assert tlv.decode(payload_of(parts)) == {"op": 1, "table": "t", "key": "k", "value": 0}


def test_our_stash_operations_have_fields_of_their_own() -> None:
    parts = frames.stash(1, StashOp.INCR, "t", "k", amount=2, ttl=1.5)
    decoded = tlv.decode(payload_of(parts))
    assert decoded == {"op": 32, "table": "t", "key": "k", "amount": 2, "ttl": 1.5}


def test_a_small_frame_is_one_part_and_large_values_are_their_own() -> None:
    large = bytes(100 * KIBIBYTE)
    assert len(frames.response(1, ["small"] * 100)) == 1
    parts = frames.response(1, large)
    assert len(parts) == 2
    assert parts[1] is large
    assert frames.decode_result(payload_of(parts)) == large


def test_a_large_payload_is_not_copied_to_its_header() -> None:
    payload = memoryview(bytes(100 * KIBIBYTE))
    parts = frames.frame(FrameType.CHUNK, 1, payload)
    assert [len(part) for part in parts] == [16, 100 * KIBIBYTE]
    assert parts[1] is payload


def test_a_payload_encoded_before_its_id_is_known_gives_the_same_frame() -> None:
    call = ("a:B", "f", [1, bytes(20_000)], {"k": 2}, 1.5, {"call": 9})
    payload = frames.request_payload(*call)
    before = list(payload)
    for request_id in (1, 2**64 - 1):
        parts = frames.with_header(FrameType.REQUEST, request_id, payload)
        assert b"".join(parts) == b"".join(frames.request(request_id, *call))
    assert payload == before


@pytest.mark.parametrize("request_id", [-1, 2**64, "1", None])
def test_an_id_that_is_no_uint64_is_refused(request_id: Any) -> None:
    with pytest.raises(DirtyProtocolError, match="a request id is a uint64, got"):
        frames.end(request_id)


@pytest.mark.parametrize("result", [bytes(1000), bytes(20_000), [bytes(20_000)] * 2, "é" * 600])
def test_a_payload_over_max_frame_size_is_refused_with_the_settings_name(result: Any) -> None:
    size = len(tlv.encode({"result": result}))
    frames.response(1, result, max_frame_size=size)
    with pytest.raises(
        DirtyProtocolError,
        match=f"a RESPONSE frame of {size:,} bytes: dirty_max_frame_size is {size - 1:,}",
    ):
        frames.response(1, result, max_frame_size=size - 1)


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (("a:B", "f", [0, {"x": object()}]), r"^args\[1\]\['x'\]: a value of type object can't"),
        (("a:B", "f", [], {"k": 1j}), r"^kwargs\['k'\]: a value of type complex can't"),
        (("a:B", "f", [], {1: 2}), r"^kwargs: a dict's keys must be str"),
        (("a:B", "f", [], {}, None, {"call": object()}), r"^trace\['call'\]: a value"),
        (("a:B", "f", "text"), "^args must be a list, not str"),
        (("a:B", "f", None), "^args must be a list, not NoneType"),
        (("a:B", "f", [], {}, "soon"), "^the timeout must be a number, got 'soon'"),
        ((1, "f"), "^app_path must be a str, not int"),
        (("a:B", None), "^action must be a str, not NoneType"),
        (("a:B", "\ud800"), "^action: a str with .* UTF-8"),
    ],
)
def test_a_request_that_can_not_be_sent_says_where(call: Any, message: str) -> None:
    with pytest.raises(DirtyProtocolError, match=message):
        frames.request(1, *call)


def test_other_frames_name_the_path_to_what_can_not_be_sent() -> None:
    with pytest.raises(DirtyProtocolError, match=r"^result\['a'\]: "):
        frames.response(1, {"a": object()})
    with pytest.raises(DirtyProtocolError, match=r"^data\[0\]: "):
        frames.chunk(1, [object()])
    with pytest.raises(DirtyProtocolError, match=r"^stash\['value'\]: "):
        frames.stash(1, StashOp.PUT, "t", "k", object())


def test_a_result_may_stand_63_containers_deep() -> None:
    deep: list[Any] = []
    for _ in range(62):
        deep = [deep]
    assert frames.decode_result(payload_of(frames.response(1, deep))) == deep
    with pytest.raises(DirtyProtocolError, match="more than 64 containers"):
        frames.response(1, [deep])


def test_more_routes_than_are_remembered_are_encoded_and_read() -> None:
    for number in range(2500):
        request = frames.decode_request(payload_of(frames.request(1, f"a:{number}", "f")))
        assert request.app_path == f"a:{number}"


# -- decoders -------------------------------------------------------------------------------


@settings(max_examples=30, deadline=None)
@given(values)
def test_results_and_data_come_back(value: Any) -> None:
    assert same(frames.decode_result(payload_of(frames.response(1, value))), value)
    assert same(frames.decode_data(payload_of(frames.chunk(1, value))), value)


requests = st.builds(
    Request,
    texts,
    texts,
    st.lists(values, max_size=2),
    st.dictionaries(texts, values, max_size=2),
    st.none() | st.floats(min_value=0, exclude_min=True),
    st.none() | st.dictionaries(texts, st.integers(), max_size=1),
)


@settings(max_examples=30, deadline=None)
@given(requests, st.randoms(use_true_random=False))
def test_a_request_comes_back_in_any_order_of_its_keys(request: Request, rng: Any) -> None:
    payload = payload_of(frames.request(1, *request))
    expected = list(request)
    assert same(list(frames.decode_request(payload)), expected)
    assert same(list(frames.decode_request(memoryview(payload))), expected)
    fields = list(tlv.decode(payload).items())
    rng.shuffle(fields)
    assert same(list(frames.decode_request(tlv.encode(dict(fields)))), expected)


def test_a_request_with_a_large_argument_comes_back() -> None:
    large = bytes(100 * KIBIBYTE)
    payload = payload_of(frames.request(1, "a:B", "f", [large]))
    assert type(payload) is memoryview
    assert frames.peek_route(payload) == ("a:B", "f")
    assert frames.decode_request(payload).args == [large]


@pytest.mark.parametrize(
    ("fields", "expected"),
    [
        ({"app_path": "a", "action": "f"}, Request("a", "f", [], {})),
        ({"app_path": "a", "action": "f", "args": None, "kwargs": None}, Request("a", "f", [], {})),
        ({"app_path": "a", "action": "f", "timeout": 2}, Request("a", "f", [], {}, 2.0)),
        ({"app_path": "a", "action": "f", "later": 1}, Request("a", "f", [], {})),
        (
            {"app_path": "a", "action": "f", "timeout": 2**2000},
            Request("a", "f", [], {}, float(2**62)),
        ),
    ],
)
def test_a_request_is_read_leniently_where_that_is_safe(
    fields: dict[str, Any], expected: Request
) -> None:
    request = frames.decode_request(tlv.encode(fields))
    assert request == expected
    assert type(request.timeout) is type(expected.timeout)


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"action": "f"}, "app_path to be a str, got NoneType"),
        ({"app_path": 1, "action": "f"}, "app_path to be a str, got int"),
        ({"app_path": "a"}, "action to be a str, got NoneType"),
        ({"app_path": "a", "action": "f", "args": {}, "kwargs": {}}, "args to be a list, got dict"),
        ({"app_path": "a", "action": "f", "args": [], "kwargs": []}, "kwargs to be a dict, got li"),
        ({"app_path": "a", "action": "f", "timeout": "1"}, "timeout to be a float, got str"),
        ({"app_path": "a", "action": "f", "timeout": True}, "timeout to be a float, got bool"),
        ({"app_path": "a", "action": "f", "timeout": -1}, "timeout to be above 0, got -1"),
        (
            {"app_path": "a", "action": "f", "timeout": float("nan"), "args": [], "kwargs": {}},
            "timeout to be above 0, got nan",
        ),
        ({"app_path": "a", "action": "f", "timeout": 0.0}, "timeout to be above 0, got 0.0"),
        ({"app_path": "a", "action": "f", "trace": []}, "trace to be a dict, got list"),
        ([], "expected the payload of REQUEST to be a dict, got list"),
    ],
)
def test_a_request_of_other_types_is_refused(fields: Any, message: str) -> None:
    with pytest.raises(DirtyProtocolError, match=message):
        frames.decode_request(tlv.encode(fields))


def test_a_request_with_a_key_twice_is_refused() -> None:
    payload = bytes(payload_of(frames.request(1, "a:B", "f")))
    twice = b"\x21\0\0\0\x05" + payload[5:] + tlv.encode("app_path") + tlv.encode("c:D")
    assert frames.peek_route(twice) == ("a:B", "f")
    with pytest.raises(DirtyProtocolError, match="the key 'app_path' comes twice"):
        frames.decode_request(twice)


def test_a_request_with_a_wrong_count_is_refused() -> None:
    payload = bytes(payload_of(frames.request(1, "a:B", "f", [1], timeout=1.0)))
    for count in (0, 1, 2, 4, 6, 2**32 - 1):
        with pytest.raises(DirtyProtocolError):
            frames.decode_request(b"\x21" + count.to_bytes(4, "big") + payload[5:])


@settings(max_examples=30, deadline=None)
@given(
    texts,
    texts,
    st.none() | st.floats(min_value=0, exclude_min=True),
    st.none() | st.integers(1, 2**63 - 1),
    st.randoms(use_true_random=False),
)
def test_a_relay_reads_what_it_needs_of_a_request_in_any_order_of_its_keys(
    app_path: str, action: str, timeout: float | None, parent: int | None, rng: Any
) -> None:
    trace = None if parent is None else {"call": parent, "worker": 2**62}
    parts = frames.request(1, app_path, action, [1, "x"], {"k": 2}, timeout, trace)
    payload = payload_of(parts)
    expected = (app_path, action, timeout, parent and frames.Trace(parent, 2**62))
    assert frames.read_call(payload) == expected
    assert frames.read_call(memoryview(payload)) == expected
    fields = list(tlv.decode(payload).items())
    rng.shuffle(fields)
    assert frames.read_call(tlv.encode(dict(fields))) == expected


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"app_path": 1, "action": "f"}, "app_path to be a str, got int"),
        ({"app_path": "a", "action": "f", "timeout": 0.0, "args": []}, "timeout to be above 0"),
        ({"app_path": "a", "action": "f", "timeout": "1"}, "timeout to be a float, got str"),
        ({"app_path": "a", "action": "f", "trace": {"call": -1}}, "of a trace to be an id"),
        ({"app_path": "a", "action": "f", "trace": {"call": True}}, "of a trace to be an id"),
        (
            {"app_path": "a", "action": "f", "trace": {"call": 1, "worker": "x"}},
            "of a trace to be an id",
        ),
        ({"app_path": "a", "action": "f", "trace": 5}, "trace to be a dict, got int"),
        ([], "expected a dict"),
    ],
)
def test_a_relay_refuses_a_request_without_what_it_needs(fields: Any, message: str) -> None:
    with pytest.raises(DirtyProtocolError, match=message):
        frames.read_call(tlv.encode(fields))


def test_a_relay_refuses_every_beginning_of_what_it_reads() -> None:
    trace = {"call": 3, "worker": 4}
    payload = bytes(payload_of(frames.request(1, "a:B", "f", [], {}, 1.5, trace)))
    head = payload.index(b"args") + 5
    for size in range(head):
        with pytest.raises(DirtyProtocolError):
            frames.read_call(payload[:size])
    assert frames.read_call(payload[:head]) == ("a:B", "f", 1.5, (3, 4))


def test_manage_comes_back() -> None:
    assert frames.decode_manage(payload_of(frames.manage(1, 2, 3))) == (2, 3)
    assert frames.decode_manage(tlv.encode({"op": 1})) == (1, 1)
    for fields in ({}, {"op": True}, {"op": 1, "count": "2"}):
        with pytest.raises(DirtyProtocolError, match="'op' and 'count' of a MANAGE to be ints"):
            frames.decode_manage(tlv.encode(fields))


def test_every_beginning_of_a_request_is_refused() -> None:
    payload = bytes(payload_of(frames.request(1, "a:B", "f", [1, "x"], {"k": 2}, timeout=1.0)))
    for size in range(len(payload)):
        with pytest.raises(DirtyProtocolError):
            frames.decode_request(payload[:size])


@pytest.mark.parametrize(
    ("decode", "name"),
    [
        (frames.decode_result, "RESPONSE to have 'result'"),
        (frames.decode_data, "CHUNK to have 'data'"),
        (frames.decode_error, "ERROR to have 'error'"),
        (frames.decode_credit, "CREDIT to have 'bytes'"),
    ],
)
def test_a_payload_without_its_key_is_refused(decode: Any, name: str) -> None:
    with pytest.raises(DirtyProtocolError, match=rf"{name}, got \['other'\]"):
        decode(tlv.encode({"other": 1}))
    with pytest.raises(DirtyProtocolError, match="to be a dict, got int"):
        decode(tlv.encode(1))
    with pytest.raises(DirtyProtocolError, match="expected a value, but the data ends"):
        decode(b"")


def test_a_result_is_found_beside_other_keys() -> None:
    assert frames.decode_result(tlv.encode({"more": 1, "result": 2})) == 2
    assert frames.decode_data(tlv.encode({"data": 2, "more": 1})) == 2


@pytest.mark.parametrize("size", [0, -1, 1.5, None, True, 2**70 * -1])
def test_a_credit_of_no_bytes_is_refused(size: Any) -> None:
    with pytest.raises(DirtyProtocolError, match="of CREDIT to be 1 or more"):
        frames.decode_credit(tlv.encode({"bytes": size}))


def test_credit_and_hello_come_back() -> None:
    assert frames.decode_credit(payload_of(frames.credit(1, 5))) == 5
    fields = {"role": "worker", "apps": {"a:B": {"workers": None}}}
    assert frames.decode_hello(payload_of(frames.hello(fields))) == fields
    with pytest.raises(DirtyProtocolError, match="payload of HELLO to be a dict"):
        frames.decode_hello(tlv.encode([]))


# -- errors ---------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", ERROR_CLASSES)
def test_every_error_class_comes_back_with_its_details(kind: type[DirtyError]) -> None:
    details = {name: f"its {name}" for name in kind._fields} | {"more": [1, None]}
    error = kind("what happened", **details)
    came = frames.decode_error(payload_of(frames.error(3, error)))
    assert type(came) is kind
    assert (came.message, came.details) == ("what happened", details)


def test_an_error_of_an_unknown_class_is_a_dirty_error() -> None:
    parts = frames.error(1, {"error_type": "NewError", "message": "m", "details": {}})
    came = frames.decode_error(payload_of(parts))
    assert type(came) is DirtyError
    assert came.message == "m"


@pytest.mark.parametrize(
    ("error", "message", "details"),
    [
        (
            DirtyAppError("m", action="f", args={1, (2,)}, count=3),
            "m",
            {"action": "f", "args": "{(2,), 1}", "count": 3},
        ),
        (DirtyTimeoutError("\udce9", timeout=1.5), "\\udce9", {"timeout": 1.5}),
        (DirtyError("m", traceback="x" * 5000), "m", {"traceback": "x" * 2000}),
        (DirtyOverloadedError("m" * 5000), "m" * 2000, {}),
        ({"error_type": "DirtyError", "message": object}, "<class 'object'>", {}),
        ({"error_type": "DirtyError", "details": 1j}, "no message came with this error", {}),
        (StashKeyNotFoundError("m", key=2**70, table=1e300 * 1e300), "m", None),
    ],
)
def test_an_error_that_can_not_be_sent_as_it_is_arrives_shortened(
    error: Any, message: str, details: dict[str, Any] | None
) -> None:
    came = frames.decode_error(payload_of(frames.error(1, error, max_frame_size=4000)))
    assert came.message == message
    if details is not None:
        assert {name: _sorted(value) for name, value in came.details.items()} == {
            name: _sorted(value) for name, value in details.items()
        }


def _sorted(value: Any) -> Any:
    """A set's repr has its items in any order."""
    return sorted(value) if isinstance(value, str) else value

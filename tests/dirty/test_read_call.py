# SPDX-License-Identifier: MIT
"""What a relay reads of a REQUEST is what a worker decodes of it, and args stay as they are."""

from __future__ import annotations

import random
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.dirty.values import texts, values
from trioserve.dirty import frames, tlv
from trioserve.dirty.errors import DirtyProtocolError

timeouts = st.none() | st.floats(min_value=0.001)
parents = st.none() | st.integers(0, (1 << 63) - 1)


def trace_of(request: frames.Request) -> tuple[int, int] | None:
    trace = request.trace
    return None if trace is None else (trace["call"], trace["worker"])


@pytest.mark.slow  # a hundred random requests
@given(texts, texts, st.lists(values, max_size=3), timeouts, parents)
def test_it_reads_what_decoding_gives(
    app_path: str, action: str, args: list[Any], timeout: float | None, parent: int | None
) -> None:
    trace = None if parent is None else {"call": parent, "worker": 7}
    parts = frames.request_payload(app_path, action, args, {"k": args}, timeout, trace)
    payload = b"".join(map(bytes, parts))
    request = frames.decode_request(payload)
    read = frames.read_call(payload)
    assert read == (request.app_path, request.action, request.timeout, trace_of(request))
    assert frames.read_call(memoryview(payload)) == read


@given(st.permutations(["app_path", "action", "args", "kwargs", "timeout", "trace", "more"]))
def test_keys_may_come_in_any_order(names: list[str]) -> None:
    fields = {
        "app_path": "a:App",
        "action": "run",
        "args": [1],
        "kwargs": {"timeout": 5},
        "timeout": 2,
        "trace": {"call": 3, "more": None, "worker": 4},
        "more": 1,
    }
    payload = tlv.encode({name: fields[name] for name in names})
    assert frames.read_call(payload) == ("a:App", "run", 2.0, (3, 4))


def test_what_is_after_the_options_is_not_looked_at() -> None:
    trace = {"call": 7, "worker": 8}
    parts = frames.request_payload("a:App", "run", [b"x" * 100_000], {}, 1.5, trace)
    payload = b"".join(map(bytes, parts))
    cut = payload[: payload.index(b"args") + 5] + b"\xff"
    assert frames.read_call(cut) == ("a:App", "run", 1.5, (7, 8))
    assert frames.read_call(memoryview(payload)) == ("a:App", "run", 1.5, (7, 8))


@pytest.mark.parametrize("timeout", [0.0, -1.0, float("nan"), 0, -5])
def test_a_timeout_is_above_0(timeout: float) -> None:
    payload = tlv.encode({"app_path": "a", "action": "b", "timeout": timeout, "args": []})
    with pytest.raises(DirtyProtocolError, match="timeout to be above 0"):
        frames.read_call(payload)


def test_whatever_comes_it_gives_a_call_or_a_protocol_error() -> None:
    parts = frames.request_payload(
        "a:App", "run", [1, "two"], {"k": None}, 1.5, {"call": 7, "worker": 8}
    )
    payload = b"".join(map(bytes, parts))
    source = random.Random(1)
    for _ in range(3000):
        changed = bytearray(payload[: source.randrange(1, len(payload) + 1)])
        for _ in range(source.randrange(4)):
            changed[source.randrange(len(changed))] = source.randrange(256)
        for data in (bytes(changed), memoryview(bytes(changed))):
            try:
                app_path, action, timeout, trace = frames.read_call(data)
            except DirtyProtocolError:
                continue
            assert type(app_path) is type(action) is str
            assert timeout is None or timeout > 0
            assert trace is None or min(trace) >= 0

# SPDX-License-Identifier: MIT
"""Messages between the arbiter and its workers, as bytes."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from trioserve.workers import messages
from trioserve.workers.messages import MessageError, MessageReader, encode

values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(), inner, max_size=4),
    max_leaves=8,
)
conversations = st.lists(
    st.dictionaries(st.text(), values, max_size=4).map(lambda keys: {**keys, "type": "any"}),
    max_size=5,
)


@given(conversations, st.data())
def test_messages_are_the_same_however_their_bytes_are_cut(
    conversation: list[dict[str, Any]], data: st.DataObject
) -> None:
    stream = b"".join(map(encode, conversation))
    cuts = data.draw(st.lists(st.integers(0, len(stream)), max_size=8).map(sorted))
    reader = MessageReader()
    read: list[dict[str, Any]] = []
    for start, end in zip([0, *cuts], [*cuts, len(stream)], strict=True):
        read.extend(reader.feed(stream[start:end]))
    assert read == conversation


@pytest.mark.parametrize(
    ("data", "complaint"),
    [
        (b"\xff\xff\xff\xff", "this one says 4294967295"),
        (b"\0\0\0\2[]", r"expected a JSON object with a type, got b'\[\]'"),
        (b"\0\0\0\2{}", "with a type"),
        (b'\0\0\0\x0a{"type": 1}', "expected a JSON object"),
        (b"\0\0\0\1x", "expected a JSON object, got b'x'"),
        (b"\0\0\0\1\xff", "expected a JSON object"),
    ],
)
def test_what_is_no_message_is_an_error_that_says_what_came(data: bytes, complaint: str) -> None:
    with pytest.raises(MessageError, match=complaint):
        list(MessageReader().feed(data))


def test_a_message_that_is_too_long_is_not_even_sent(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(messages, "MAX_MESSAGE_SIZE", 30)
    encode({"type": "beat"})
    with pytest.raises(MessageError, match="at most 30 bytes, this one 3"):
        encode({"type": "beat", "snapshot": "12345678"})

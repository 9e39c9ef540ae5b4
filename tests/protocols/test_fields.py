# SPDX-License-Identifier: MIT
"""Fields on their way out: what a server may say, and what it must refuse to say."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from trioserve.errors import AppProtocolError
from trioserve.protocols import fields
from trioserve.protocols.fields import (
    FORBIDDEN_IN_TRAILERS,
    KNOWN_FIELDS,
    Special,
    check_status,
    encode_field_block,
    encode_fields,
    field_info,
    reason_phrase,
)

CONTROLS = [*range(9), *range(10, 32), 127]
NOTHING: frozenset[bytes] = frozenset()


@pytest.mark.parametrize(
    ("name", "special"),
    [
        (b"Date", Special.DATE),
        (b"SERVER", Special.SERVER),
        (b"content-length", Special.CONTENT_LENGTH),
        (b"Connection", Special.CONNECTION),
        (b"Transfer-Encoding", Special.HOP_BY_HOP),
        (b"Keep-Alive", Special.HOP_BY_HOP),
        (b"proxy-connection", Special.HOP_BY_HOP),
        (b"X-Thing", Special.NONE),
    ],
)
def test_a_name_is_known_by_its_lower_case(name: bytes, special: Special) -> None:
    assert field_info(name) == (b"\r\n" + name.lower() + b": ", special)


@pytest.mark.parametrize(
    "name",
    [b"", b"a b", b"a:", b"a\r\n", b"a\n", b" a", b"a ", b"\xc3\xa9", b"a\x00", b"(a)", b"a,b"],
)
def test_a_name_that_is_no_token_is_refused(name: bytes) -> None:
    with pytest.raises(AppProtocolError, match=r"RFC 9110 section 5\.1"):
        field_info(name)


@pytest.mark.parametrize("name", ["date", None, 1, bytearray(b"date"), [b"date"], {}])
def test_a_name_that_is_no_bytes_is_refused(name: object) -> None:
    with pytest.raises(AppProtocolError, match="must be bytes"):
        field_info(name)


def test_names_that_an_application_makes_up_do_not_pile_up(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(fields, "_KNOWN_LIMIT", len(KNOWN_FIELDS) + 2)
    before = len(KNOWN_FIELDS)
    for number in range(10):
        assert field_info(b"made-up-%d" % number)[0] == b"\r\nmade-up-%d: " % number
    assert len(KNOWN_FIELDS) <= before + 2


@pytest.mark.parametrize("control", CONTROLS)
@pytest.mark.parametrize("place", [0, 1, 2])
def test_any_control_character_in_a_value_is_refused_and_the_value_is_named(
    control: int, place: int
) -> None:
    value = bytearray(b"ab")
    value.insert(place, control)
    with pytest.raises(AppProtocolError) as caught:
        encode_fields([(b"fine", b"fine"), (b"bad", bytes(value)), (b"more", b"more")], NOTHING)
    assert repr(bytes(value)) in str(caught.value)
    assert "RFC 9110 section 5.5" in str(caught.value)


@pytest.mark.parametrize("kind", [bytes, bytearray, memoryview])
def test_a_bad_value_of_any_kind_of_bytes_is_one_clear_error(kind: type) -> None:
    with pytest.raises(AppProtocolError, match=r"b'a\\nb'"):
        encode_fields([(b"bad", kind(b"a\nb"))], NOTHING)


@pytest.mark.parametrize("value", ["text", None, 5, [b"x"]])
def test_a_value_that_is_no_bytes_is_named(value: object) -> None:
    with pytest.raises(AppProtocolError, match="value must be bytes, got"):
        encode_fields([(b"a", b"b"), (b"c", value)], NOTHING)  # type: ignore[list-item]


@settings(max_examples=200, deadline=None)
@given(values=st.lists(st.binary(max_size=10), max_size=5))
def test_a_block_holds_exactly_its_lines_or_is_refused(values: list[bytes]) -> None:
    headers = [(b"n", value) for value in values]
    if any(byte in CONTROLS for value in values for byte in value):
        with pytest.raises(AppProtocolError):
            encode_fields(headers, NOTHING)
        return
    block = encode_fields(headers, NOTHING)
    assert block == b"".join(b"\r\nn: " + value for value in values)


def test_the_tab_and_every_byte_above_ascii_may_stand_in_a_value() -> None:
    value = b"a\tb" + bytes(range(0x80, 0x100))
    assert encode_fields([(b"n", value)], NOTHING) == b"\r\nn: " + value


def test_a_block_with_less_line_ends_than_lines_is_refused_too() -> None:
    with pytest.raises(AppProtocolError):
        encode_field_block([b"\r\na: ", b"b"], 2)


@pytest.mark.parametrize("name", sorted(FORBIDDEN_IN_TRAILERS))
def test_what_frames_or_routes_may_not_stand_in_a_trailer(name: bytes) -> None:
    with pytest.raises(AppProtocolError, match=r"RFC 9110 section 6\.5\.1"):
        encode_fields([(name.title(), b"x")], FORBIDDEN_IN_TRAILERS)


@pytest.mark.parametrize("status", [200, 299, 404, 599, 999])
def test_a_final_status_is_taken(status: int) -> None:
    assert check_status(status) == status


@pytest.mark.parametrize("status", [0, 100, 101, 103, 199, 1000, -200, "200", None, 200.0, b"200"])
def test_any_other_status_is_refused(status: object) -> None:
    with pytest.raises(AppProtocolError, match="from 200 to 999"):
        check_status(status)


@pytest.mark.parametrize(
    ("status", "phrase"),
    [
        (200, "OK"),
        (103, "Early Hints"),
        (413, "Content Too Large"),
        (414, "URI Too Long"),
        (416, "Range Not Satisfiable"),
        (422, "Unprocessable Content"),
        (431, "Request Header Fields Too Large"),
        (299, "Unknown"),
    ],
)
def test_a_status_always_has_a_phrase(status: int, phrase: str) -> None:
    assert reason_phrase(status) == phrase

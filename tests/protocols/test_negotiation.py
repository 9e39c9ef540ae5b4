# SPDX-License-Identifier: MIT
from __future__ import annotations

import pytest

from trioserve.protocols.negotiation import PREFACE, begins_like_preface


def test_the_preface_is_that_of_rfc_9113() -> None:
    """Section 3.4."""
    assert PREFACE.hex() == "505249202a20485454502f322e300d0a0d0a534d0d0a0d0a"


@pytest.mark.parametrize("size", range(18))
def test_its_beginning_may_become_one(size: int) -> None:
    assert begins_like_preface(PREFACE[:size]) is None


@pytest.mark.parametrize("rest", [b"", b"S", b"SM\r\n\r\n", b"XX\r\n\r\n", PREFACE])
def test_a_whole_head_of_it_is_one_whatever_follows(rest: bytes) -> None:
    assert begins_like_preface(PREFACE[:18] + rest) is True
    assert begins_like_preface(bytearray(PREFACE[:18] + rest)) is True


@pytest.mark.parametrize("size", range(1, 19))
def test_any_other_byte_makes_it_another_protocol(size: int) -> None:
    data = bytearray(PREFACE[:size])
    data[-1] ^= 0x20
    assert begins_like_preface(bytes(data)) is False


@pytest.mark.parametrize(
    "data", [b"GET / HTTP/1.1\r\n", b"PRI / HTTP/2.0\r\n\r\n", b"PRI * HTTP/1.1\r\n\r\n", b"P\r\n"]
)
def test_a_request_of_http_1_is_none(data: bytes) -> None:
    assert begins_like_preface(data) is False

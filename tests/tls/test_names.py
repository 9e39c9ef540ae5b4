# SPDX-License-Identifier: MIT
from __future__ import annotations

import ssl

import pytest

from trioserve.tls.names import NamedContexts

EXACT, WILD = (ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER) for _ in range(2))
NAMES = NamedContexts({"shop.example": EXACT, "*.shop.example": WILD, "a.shop.example": EXACT})


@pytest.mark.parametrize(
    ("name", "found"),
    [
        ("shop.example", EXACT),
        ("SHOP.example", EXACT),
        ("shop.example.", EXACT),
        ("a.shop.example", EXACT),
        ("b.shop.example", WILD),
        ("B.Shop.Example.", WILD),
        ("b.a.shop.example", None),
        ("example", None),
        ("", None),
        (None, None),
        (".shop.example", WILD),
        ("*.shop.example", WILD),
    ],
)
def test_a_name_finds_its_certificate(name: str | None, found: ssl.SSLContext | None) -> None:
    assert NAMES.find(name) is found

# SPDX-License-Identifier: MIT
"""The ASGI tls extension, made of what a stream says; over real TLS in tests/test_server_tls.py."""

from __future__ import annotations

import ssl
from typing import Any

import attrs
import pytest

from tests.tls.authority import issue
from trioserve.asgi.tls_extension import tls_extension


@attrs.frozen
class Agreed:
    """What of a TlsStream the extension looks at."""

    version: str | None = "TLSv1.3"
    cipher: str | None = "TLS_AES_256_GCM_SHA384"
    server_certificate: str | None = None
    client_certificates: tuple[bytes, ...] = ()


def extension(**agreed: Any) -> dict[str, Any]:
    return dict(tls_extension(Agreed(**agreed)))  # type: ignore[arg-type]


def test_the_keys_are_those_of_the_specification() -> None:
    assert extension(server_certificate="PEM") == {
        "server_cert": "PEM",
        "client_cert_chain": (),
        "client_cert_name": None,
        "client_cert_error": None,
        "tls_version": 0x0304,
        "cipher_suite": 0x1302,
    }


@pytest.mark.parametrize(
    ("name", "number"),
    [
        ("TLS_AES_128_GCM_SHA256", 0x1301),
        ("TLS_CHACHA20_POLY1305_SHA256", 0x1303),
        ("ECDHE-RSA-AES128-GCM-SHA256", 0xC02F),
        ("ECDHE-ECDSA-AES256-GCM-SHA384", 0xC02C),
        ("something new", None),
        (None, None),
    ],
)
def test_a_cipher_suite_is_its_number(name: str | None, number: int | None) -> None:
    assert extension(cipher=name)["cipher_suite"] == number


@pytest.mark.parametrize(
    ("name", "number"), [("TLSv1", 0x0301), ("TLSv1.2", 0x0303), ("SSLv9", None), (None, None)]
)
def test_a_version_is_its_number(name: str | None, number: int | None) -> None:
    assert extension(version=name)["tls_version"] == number


def test_a_client_is_its_chain_and_its_name() -> None:
    pem = [
        blob.bytes().decode() for blob in issue("ann@b.example", common_name="Ann").cert_chain_pems
    ]
    chain = tuple(map(ssl.PEM_cert_to_DER_cert, pem))
    told = extension(client_certificates=chain)
    assert list(told["client_cert_chain"]) == pem
    assert told["client_cert_name"].startswith("CN=Ann,")


def test_a_certificate_that_only_openssl_understands_has_no_name() -> None:
    told = extension(client_certificates=(b"0\x80not DER",))
    assert told["client_cert_name"] is None
    assert len(told["client_cert_chain"]) == 1

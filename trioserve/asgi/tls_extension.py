# SPDX-License-Identifier: MIT
"""``scope["extensions"]["tls"]``: what TLS has agreed on, and who the client is.

Source: ASGI TLS extension, version 0.2.
"""

from __future__ import annotations

import ssl
from functools import cache
from typing import TYPE_CHECKING, Final

from trioserve.asgi.extension import Options
from trioserve.tls import subject_name

if TYPE_CHECKING:
    from collections.abc import Mapping

    from trioserve.tls import TlsStream

__all__ = ["tls_extension"]

#: The numbers of RFC 8446 section 4.2.1 and of its predecessors.
_VERSIONS: Final = {"TLSv1": 0x0301, "TLSv1.1": 0x0302, "TLSv1.2": 0x0303, "TLSv1.3": 0x0304}


def tls_extension(stream: TlsStream) -> Options:
    """The extension's value, made once a connection: all scopes share it.

    ``client_cert_error`` is always None: a client whose certificate doesn't verify gets no
    connection. ``server_cert`` is None where an ``ssl_context`` hook has made a context of its own.
    """
    chain = stream.client_certificates
    return Options(
        {
            "server_cert": stream.server_certificate,
            "client_cert_chain": tuple(map(ssl.DER_cert_to_PEM_cert, chain)),
            "client_cert_name": _name(chain[0]) if chain else None,
            "client_cert_error": None,
            "tls_version": _VERSIONS.get(stream.version or ""),
            "cipher_suite": _cipher_suites().get(stream.cipher or ""),
        }
    )


def _name(certificate: bytes) -> str | None:
    try:
        return subject_name(certificate)
    except ValueError:  # OpenSSL takes more than DER
        return None


@cache
def _cipher_suites() -> Mapping[str, int]:
    """OpenSSL's name of each suite that it knows → the number of the RFC."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.set_ciphers("ALL:COMPLEMENTOFALL:@SECLEVEL=0")
    # The upper half of OpenSSL's id is its own: 0x0300 for what is not SSL 2.
    return {cipher["name"]: cipher["id"] & 0xFFFF for cipher in context.get_ciphers()}

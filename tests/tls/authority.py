# SPDX-License-Identifier: MIT
"""Certificates for tests: an authority of our own, and files as an operator has them."""

from __future__ import annotations

import functools
import ssl
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, Any

import trustme
from cryptography.hazmat.primitives.serialization import (
    BestAvailableEncryption,
    Encoding,
    PrivateFormat,
    load_pem_private_key,
)

from trioserve.config import Config
from trioserve.tls import TlsContexts

if TYPE_CHECKING:
    from collections.abc import Iterable

__all__ = [
    "PASSWORD",
    "authority",
    "client_context",
    "contexts",
    "encrypted",
    "issue",
    "names_of",
    "usual_files",
    "write_certificate",
]

PASSWORD = "correct horse"


@functools.cache
def authority() -> trustme.CA:
    """The one whose certificates clients and servers trust."""
    return trustme.CA()


def issue(*names: str, **options: Any) -> trustme.LeafCert:
    """A certificate of the authority's."""
    return authority().issue_cert(*names, **options)


def write_certificate(folder: Path, *names: str, stem: str = "server") -> tuple[str, str]:
    """Writes a new certificate and its key; returns the paths. Replaces those of the same stem."""
    leaf = issue(*names)
    certificate, key = folder / f"{stem}.pem", folder / f"{stem}.key"
    # As careful tools do: there is always a whole file.
    for path, data in (
        (certificate, b"".join(blob.bytes() for blob in leaf.cert_chain_pems)),
        (key, leaf.private_key_pem.bytes()),
    ):
        new = path.with_suffix(".new")
        new.write_bytes(data)
        new.replace(path)
    return str(certificate), str(key)


def encrypted(key: Path, password: str = PASSWORD) -> None:
    """Encrypts a key file where it lies."""
    opened = load_pem_private_key(key.read_bytes(), None)
    encryption = BestAvailableEncryption(password.encode())
    key.write_bytes(opened.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, encryption))


@functools.cache
def usual_files() -> tuple[str, str]:
    """Certificate and key for localhost and 127.0.0.1, for tests that don't touch them."""
    folder = tempfile.TemporaryDirectory(prefix="trioserve-tests-")
    _folders.append(folder)  # lives as long as this module, and is removed with it
    return write_certificate(Path(folder.name), "localhost", "127.0.0.1")


_folders: list[tempfile.TemporaryDirectory[str]] = []


def contexts(**options: Any) -> TlsContexts:
    """With the usual certificate, unless there is another."""
    certfile, keyfile = usual_files()
    return TlsContexts(Config(**{"certfile": certfile, "keyfile": keyfile, **options}))


def client_context(
    *, certificate: trustme.LeafCert | None = None, alpn: Iterable[str] = ()
) -> ssl.SSLContext:
    """A client that trusts our authority.

    Args:
        certificate: its own.
        alpn: what it offers.
    """
    # Not create_default_context(), which takes 20 ms to load the system's authorities.
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    authority().configure_trust(context)
    if certificate is not None:
        certificate.configure_cert(context)
    if alpn:
        context.set_alpn_protocols(list(alpn))
    return context


def names_of(peer: Any) -> list[str]:
    """The names in the certificate that a connection's client has got."""
    return [value for _, value in peer.getpeercert()["subjectAltName"]]

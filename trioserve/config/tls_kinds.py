# SPDX-License-Identifier: MIT
"""The kinds of value that only the TLS settings have, and what ``sni_certificate`` means."""

from __future__ import annotations

import re
from typing import Any, Final, NamedTuple, NoReturn

from trioserve.addresses import parse_bind
from trioserve.config.kinds import Kind, are_texts, as_path_text, as_texts, texts_from_text
from trioserve.errors import ConfigError

__all__ = [
    "CIPHERS",
    "FILE",
    "INSECURE_ADDRESSES",
    "SECRET",
    "SNI_CERTIFICATES",
    "SniCertificate",
    "parse_sni_certificate",
]

FILE = Kind(
    unit="path",
    expected="the path of a file",
    accepts=lambda value: value is None or (isinstance(value, str) and value != ""),
    convert=as_path_text,
)
SECRET = Kind(
    unit="text",
    expected="a text",
    accepts=lambda value: value is None or isinstance(value, str),
    is_secret=True,
)
CIPHERS = Kind(
    unit="OpenSSL list",
    expected='a list of ciphers as OpenSSL has it, as in "ECDHE+AESGCM:ECDHE+CHACHA20"',
    accepts=lambda value: value is None or (isinstance(value, str) and value.strip() != ""),
)


def _are_insecure_addresses(value: Any) -> bool:
    if not are_texts(value):
        return False
    for text in value:
        try:
            parse_bind(text)
        except ConfigError as exc:  # which speaks of "bind"
            raise ConfigError(f"insecure_{exc}") from exc
    return True


INSECURE_ADDRESSES = Kind(
    unit="address",
    expected="addresses, each host:port, unix:path or fd://N",
    accepts=_are_insecure_addresses,
    convert=as_texts,
    from_text=texts_from_text,
    is_list=True,
)


# -- certificates by name ---------------------------------------------------------------------

#: RFC 6066 section 3: what a client asks for is a DNS name, in its ASCII form and without a final
#: dot. RFC 9525 section 6.3: a wildcard is the whole leftmost label, and stands for one label.
_NAME: Final = re.compile(
    r"(\*\.)?([a-z0-9_]([a-z0-9_-]{0,61}[a-z0-9_])?\.)*[a-z0-9_]([a-z0-9_-]{0,61}[a-z0-9_])?"
)


class SniCertificate(NamedTuple):
    """One ``--sni-certificate``.

    Attributes:
        name: lower-case; ``*.`` in front stands for any one label.
        certfile: with the certificate, and those of its chain.
        keyfile: None: the key is in certfile.
    """

    name: str
    certfile: str
    keyfile: str | None


def parse_sni_certificate(text: str) -> SniCertificate:
    """Parse ``HOST=CERTFILE`` or ``HOST=CERTFILE,KEYFILE``.

    Raises:
        ConfigError: It is neither. The message quotes it and says what was expected.
    """
    host, equals, files = text.partition("=")
    name = host.strip().lower().removesuffix(".")
    certfile, comma, keyfile = (part.strip() for part in files.partition(","))
    if not equals or not certfile or (comma and not keyfile):
        _refuse(text, "expected HOST=CERTFILE or HOST=CERTFILE,KEYFILE")
    if not name.isascii():
        _refuse(text, 'the host has characters outside ASCII; write its "xn--" form')
    if not _NAME.fullmatch(name) or len(name) > 253:
        _refuse(text, 'expected a host name, or "*." and one, as in *.example.org')
    if not name.strip("0123456789."):
        _refuse(text, "clients send no name for an IP address: certfile is the one they get")
    return SniCertificate(name, certfile, keyfile or None)


def _are_sni_certificates(value: Any) -> bool:
    if not are_texts(value):
        return False
    names = [parse_sni_certificate(text).name for text in value]  # its ConfigError says more
    for name in names:
        if names.count(name) > 1:
            raise ConfigError(f"sni_certificate {value!r}: {name} is there more than once")
    return True


def _sni_certificates_from_text(text: str) -> Any:
    """A comma-separated list, in which a part without "=" is the key file of the part before."""
    found: list[str] = []
    for part in texts_from_text(text):
        if "=" in part or not found:
            found.append(part)
        else:
            found[-1] += f",{part}"
    return tuple(found)


SNI_CERTIFICATES = Kind(
    unit="host=certfile[,keyfile]",
    expected='texts, each "HOST=CERTFILE" or "HOST=CERTFILE,KEYFILE"',
    accepts=_are_sni_certificates,
    convert=as_texts,
    from_text=_sni_certificates_from_text,
    is_list=True,
)


def _refuse(text: str, reason: str) -> NoReturn:
    raise ConfigError(f"sni_certificate {text!r}: {reason}")

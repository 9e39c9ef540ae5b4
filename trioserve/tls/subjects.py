# SPDX-License-Identifier: MIT
"""Who a certificate names: its subject as RFC 4514 writes it.

Python's ``getpeercert()`` has the subject in words of OpenSSL's, from which RFC 4514 can't be made:
the types that it doesn't name are to be written by number, with their value as it was encoded. So
here the subject is read from DER (X.690), of a certificate that OpenSSL has verified before.

========================  ===============================================================
Certificate               SEQUENCE { tbsCertificate, … }                 RFC 5280 section 4.1
tbsCertificate            SEQUENCE { [0] version?, serialNumber, signature, issuer,
                          validity, subject, … }
subject                   SEQUENCE OF SET OF SEQUENCE { type OID, value ANY }
========================  ===============================================================
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Iterator

__all__ = ["subject_name"]

#: RFC 4514 section 3, and those of RFC 4519 and of IANA's registry that certificates have.
_SHORT_NAMES: Final = {
    "2.5.4.3": "CN",
    "2.5.4.7": "L",
    "2.5.4.8": "ST",
    "2.5.4.10": "O",
    "2.5.4.11": "OU",
    "2.5.4.6": "C",
    "2.5.4.9": "STREET",
    "0.9.2342.19200300.100.1.25": "DC",
    "0.9.2342.19200300.100.1.1": "UID",
    "2.5.4.4": "sn",
    "2.5.4.5": "serialNumber",
    "2.5.4.12": "title",
    "2.5.4.17": "postalCode",
    "2.5.4.41": "name",
    "2.5.4.42": "givenName",
    "2.5.4.43": "initials",
    "2.5.4.44": "generationQualifier",
    "2.5.4.46": "dnQualifier",
    "1.2.840.113549.1.9.1": "emailAddress",
}

#: The string types of X.690, by tag.
_ENCODINGS: Final = {
    0x0C: "utf-8",  # UTF8String
    0x12: "ascii",  # NumericString
    0x13: "ascii",  # PrintableString
    0x14: "latin-1",  # TeletexString, as everybody reads it
    0x16: "ascii",  # IA5String
    0x1A: "ascii",  # VisibleString
    0x1C: "utf-32-be",  # UniversalString
    0x1E: "utf-16-be",  # BMPString
}
_VERSION: Final = 0xA0

_SPECIAL: Final = '"+,;<>\\'


def subject_name(certificate: bytes) -> str:
    """The distinguished name of a DER certificate's subject: ``CN=Ann,O=Shop,C=DE``.

    Raises:
        ValueError: it is no certificate.
    """
    try:
        _, body, _ = _element(certificate, 0)
        _, fields, _ = _element(body, 0)
        elements = list(_elements(fields))
        subject = elements[4 + (elements[0][0] == _VERSION)][1]
        # RFC 4514 section 2.1: from the last of the sequence to the first.
        return ",".join(reversed([_relative_name(one) for _, one in _elements(subject)]))
    except IndexError as exc:
        raise ValueError("not a certificate in DER") from exc


def _relative_name(data: bytes) -> str:
    return "+".join(_attribute(one) for _, one in _elements(data))


def _attribute(data: bytes) -> str:
    """RFC 4514 sections 2.3 and 2.4."""
    (_, number), (tag, value) = _elements(data)
    kind = _dotted(number)
    name = _SHORT_NAMES.get(kind)
    text = _text(tag, value)
    if name is None or text is None:
        whole = data[_element(data, 0)[2] :]
        return f"{name or kind}=#{whole.hex()}"
    return f"{name}={_escaped(text)}"


def _text(tag: int, value: bytes) -> str | None:
    encoding = _ENCODINGS.get(tag)
    if encoding is None:
        return None
    try:
        return value.decode(encoding)
    except UnicodeError:  # authorities get it wrong, too
        return None


def _escaped(text: str) -> str:
    parts = []
    last = len(text) - 1
    for place, letter in enumerate(text):
        if letter == "\0":
            parts.append("\\00")
        elif (
            letter in _SPECIAL
            or (letter in " #" and place == 0)
            or (letter == " " and place == last)
        ):
            parts.append("\\" + letter)
        else:
            parts.append(letter)
    return "".join(parts)


def _dotted(number: bytes) -> str:
    """X.690 section 8.19."""
    arcs = []
    arc = 0
    for byte in number:
        arc = arc << 7 | byte & 0x7F
        if not byte & 0x80:
            arcs.append(arc)
            arc = 0
    first = min(arcs[0] // 40, 2)
    return ".".join(map(str, [first, arcs[0] - 40 * first, *arcs[1:]]))


def _elements(data: bytes) -> Iterator[tuple[int, bytes]]:
    place = 0
    while place < len(data):
        tag, content, place = _element(data, place)
        yield tag, content


def _element(data: bytes, place: int) -> tuple[int, bytes, int]:
    """The element at ``place``: its tag, its content, and where the next one is."""
    tag, size = data[place], data[place + 1]
    place += 2
    if size & 0x80:
        count = size & 0x7F
        size = int.from_bytes(data[place : place + count], "big")
        place += count
    if place + size > len(data):
        raise IndexError(f"{size} bytes are announced and {len(data) - place} are there")
    return tag, data[place : place + size], place + size

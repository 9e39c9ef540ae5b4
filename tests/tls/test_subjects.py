# SPDX-License-Identifier: MIT
"""Names of certificates, against RFC 4514's own examples and another implementation."""

from __future__ import annotations

import contextlib
import datetime
import ssl
from typing import TYPE_CHECKING

import pytest
from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.serialization import Encoding
from cryptography.x509.name import _ASN1Type
from cryptography.x509.oid import NameOID
from hypothesis import given, settings
from hypothesis import strategies as st

from trioserve.tls import subject_name

from .authority import issue

if TYPE_CHECKING:
    from collections.abc import Iterable

KEY = ec.generate_private_key(ec.SECP256R1())
DAY = datetime.datetime(2026, 1, 1)

CN, O, OU, C, DC = (  # noqa: E741
    NameOID.COMMON_NAME,
    NameOID.ORGANIZATION_NAME,
    NameOID.ORGANIZATIONAL_UNIT_NAME,
    NameOID.COUNTRY_NAME,
    NameOID.DOMAIN_COMPONENT,
)


def certificate(*names: Iterable[x509.NameAttribute[str]]) -> bytes:
    """In DER, with these relative names, in this order."""
    subject = x509.Name([x509.RelativeDistinguishedName(one) for one in names])
    issuer = x509.Name([x509.NameAttribute(CN, "somebody else")])
    built = (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(issuer)
        .public_key(KEY.public_key())
        .serial_number(1 << 150)
        .not_valid_before(DAY)
        .not_valid_after(DAY + datetime.timedelta(days=9000))
        .sign(KEY, SHA256())
    )
    return built.public_bytes(Encoding.DER)


def name(kind: x509.ObjectIdentifier, value: str) -> x509.NameAttribute[str]:
    return x509.NameAttribute(kind, value)


# RFC 4514 section 4.
@pytest.mark.parametrize(
    ("names", "text"),
    [
        (
            [[name(DC, "net")], [name(DC, "example")], [name(NameOID.USER_ID, "jsmith")]],
            "UID=jsmith,DC=example,DC=net",
        ),
        (
            [[name(DC, "net")], [name(DC, "example")], [name(OU, "Sales"), name(CN, "J.  Smith")]],
            "OU=Sales+CN=J.  Smith,DC=example,DC=net",
        ),
        (
            [[name(CN, 'James "Jim" Smith, III')], [name(C, "US")]],
            'C=US,CN=James \\"Jim\\" Smith\\, III',
        ),
        ([[name(CN, "Before\rAfter")]], "CN=Before\rAfter"),
        ([[name(CN, "Lu\u010di\u0107")]], "CN=Lu\u010di\u0107"),
        (
            [[name(CN, " x ")], [name(CN, "#1")], [name(CN, "a+b;c<d>e\\f\0g=")]],
            "CN=a\\+b\\;c\\<d\\>e\\\\f\\00g=,CN=\\#1,CN=\\ x\\ ",
        ),
        ([[name(NameOID.EMAIL_ADDRESS, "a@b.example")]], "emailAddress=a@b.example"),
        ([[name(CN, " ")]], "CN=\\ "),
        ([], ""),
    ],
)
def test_a_subject_is_written_as_rfc_4514_has_it(
    names: list[list[x509.NameAttribute[str]]], text: str
) -> None:
    assert subject_name(certificate(*names)) == text


def test_a_type_without_a_name_is_a_number_and_its_value_is_as_it_was() -> None:
    # RFC 4514 section 4: 1.3.6.1.4.1.1466.0=#04024869
    kind = x509.ObjectIdentifier("1.3.6.1.4.1.1466.0")
    attribute = x509.NameAttribute(kind, "Hi", _type=_ASN1Type.UTF8String)
    assert subject_name(certificate([attribute])) == "1.3.6.1.4.1.1466.0=#0c024869"


@pytest.mark.parametrize(
    ("kind", "value"),
    [
        (_ASN1Type.BMPString, "J\u00fcrgen"),
        (_ASN1Type.UniversalString, "J\u00fcrgen \U0001f600"),
        (_ASN1Type.PrintableString, "plain"),
        (_ASN1Type.T61String, "plain"),
    ],
)
def test_every_kind_of_string_is_read(kind: _ASN1Type, value: str) -> None:
    attribute = x509.NameAttribute(CN, value, _type=kind, _validate=False)
    assert subject_name(certificate([attribute])) == f"CN={value}"


@settings(max_examples=60, deadline=None)
@given(
    st.lists(
        st.tuples(st.sampled_from([CN, O, OU]), st.text('aZ 0#+,;<>\\"=\u00e9', min_size=1)),
        max_size=5,
    )
)
def test_it_agrees_with_another_implementation(
    pairs: list[tuple[x509.ObjectIdentifier, str]],
) -> None:
    names = [[name(kind, value[:60])] for kind, value in pairs]
    expected = x509.Name([x509.RelativeDistinguishedName(one) for one in names])
    assert subject_name(certificate(*names)) == expected.rfc4514_string()


def test_a_string_that_breaks_its_own_kind_is_written_as_it_was() -> None:
    attribute = x509.NameAttribute(DC, "\u00e9", _type=_ASN1Type.IA5String, _validate=False)
    assert subject_name(certificate([attribute])) == "DC=#1602c3a9"


def test_long_lengths_are_read() -> None:
    many = [[name(CN, "x" * 60)] for _ in range(40)]
    assert subject_name(certificate(*many)).count("CN=") == 40


def test_a_certificate_of_the_tests_authority() -> None:
    pem = issue("client@example.org", common_name="Ann").cert_chain_pems[0].bytes().decode()
    assert subject_name(ssl.PEM_cert_to_DER_cert(pem)).startswith("CN=Ann,")


@settings(max_examples=300, deadline=None)
@given(st.data())
def test_whatever_comes_is_a_name_or_a_value_error(data: st.DataObject) -> None:
    whole = bytearray(certificate([name(CN, "x")], [name(O, "y")]))
    for place in data.draw(st.lists(st.integers(0, 200), max_size=4)):
        whole[place] = data.draw(st.integers(0, 255))
    with contextlib.suppress(ValueError):
        assert isinstance(subject_name(bytes(whole)), str)


@pytest.mark.parametrize("size", [0, 1, 10, 60, 200])
def test_what_is_cut_short_is_a_value_error(size: int) -> None:
    with pytest.raises(ValueError, match=r"."):
        subject_name(certificate([name(CN, "x")])[:size])

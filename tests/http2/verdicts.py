# SPDX-License-Identifier: MIT
"""How a server may take what RFC 9113 forbids (section 5.4).

A stream error may be treated as a connection error of the same code (section 5.4.2 says less,
section 5.4.1 more: "an endpoint can end a connection at any time"); we hold ourselves to what each
case names.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import attrs

if TYPE_CHECKING:
    from tests.http2.client import Verdict
    from trioserve.protocols.http2 import ErrorCode

__all__ = ["Case", "connection_error", "either_error", "stream_error"]


@attrs.frozen
class Expected:
    """What may follow."""

    codes: tuple[ErrorCode, ...]
    of_connection: bool | None  # None: of either
    stream_id: int = 1

    def check(self, verdict: Verdict) -> None:
        """Fails where something else did."""
        of_connection = verdict.closed if self.of_connection is None else self.of_connection
        if of_connection:
            assert verdict.closed, verdict
            assert verdict.goaway in self.codes, verdict
        else:
            assert (verdict.goaway, verdict.closed) == (None, False), verdict
            assert verdict.resets.get(self.stream_id) in self.codes, verdict


@attrs.frozen
class Case:
    """Bytes, and what follows.

    Attributes:
        section: of RFC 9113, if no other is named.
        sent: after preface and SETTINGS.
    """

    section: str
    sent: bytes
    expected: Expected


def connection_error(*codes: ErrorCode) -> Expected:
    """GOAWAY with one of the codes, and the end."""
    return Expected(codes, of_connection=True)


def either_error(*codes: ErrorCode) -> Expected:
    """The one or the other: what is a stream error may end the connection (section 5.4.1)."""
    return Expected(codes, of_connection=None)


def stream_error(*codes: ErrorCode, stream_id: int = 1) -> Expected:
    """RST_STREAM with one of the codes, and the connection goes on."""
    return Expected(codes, of_connection=False, stream_id=stream_id)

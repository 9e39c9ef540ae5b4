# SPDX-License-Identifier: MIT
"""What came of a case, and what of all that makes a run a failure."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final, Literal

import attrs

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

__all__ = ["KINDS", "Kind", "Verdict", "kind_of", "number_of", "wrong"]

Kind = Literal["OK", "NON-STRICT", "INFORMATIONAL", "FAILED", "UNIMPLEMENTED"]

#: The first three are passed.
KINDS: Final[tuple[Kind, ...]] = ("OK", "NON-STRICT", "INFORMATIONAL", "FAILED", "UNIMPLEMENTED")

#: How the suite names what came of a case's messages. ERROR is a connection that never opened, or
#: a case that broke.
_OF_MESSAGES: Final[dict[str, Kind]] = {**{kind: kind for kind in KINDS}, "ERROR": "FAILED"}
#: And of its closing handshake, where that leaves the other as it is. Else it is FAILED: closed by
#: the wrong side, uncleanly, with a wrong code, or without the server's half.
_CLOSED: Final = frozenset({"OK", "INFORMATIONAL"})


@attrs.frozen(kw_only=True)
class Verdict:
    """What came of one case.

    Attributes:
        case: its number, as ``"7.1.5"``.
        kind: the worse one of what the suite says of the messages and of the closing handshake.
        description, expectation: the suite's own words.
        details: a line for each thing that is known of how it went.
    """

    case: str
    kind: Kind
    description: str
    expectation: str
    details: tuple[str, ...] = ()


def kind_of(behavior: str, behavior_close: str) -> Kind:
    """One verdict of the suite's two."""
    kind = _OF_MESSAGES[behavior]
    return kind if behavior_close in _CLOSED or kind == "UNIMPLEMENTED" else "FAILED"


def number_of(case: str) -> tuple[int, ...]:
    """To sort by: 1.2.10 comes after 1.2.9."""
    return tuple(map(int, case.split(".")))


def wrong(verdicts: Iterable[Verdict], known: Mapping[str, str]) -> list[Verdict]:
    """Those that a run must not end with.

    Args:
        known: cases that may be NON-STRICT.
    """
    allowed = {"OK", "INFORMATIONAL"}
    return [
        verdict
        for verdict in verdicts
        if verdict.kind not in allowed
        and not (verdict.kind == "NON-STRICT" and verdict.case in known)
    ]

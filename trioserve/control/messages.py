# SPDX-License-Identifier: MIT
"""Requests and answers of the control socket, as lines of JSON. Pure.

========  ========================================  ==========================================
line      JSON object                               sent by
========  ========================================  ==========================================
request   ``{"ask": NAME, "with": {NAME: VALUE}}``  the client; ``with`` may be left out
answer    ``{"answer": VALUE}``                     the server
refusal   ``{"refused": TEXT}``                     the server
========  ========================================  ==========================================
"""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any, Final

from trioserve.errors import TrioserveError

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

__all__ = [
    "MAX_ANSWER_SIZE",
    "MAX_REQUEST_SIZE",
    "REQUESTS",
    "encode_answer",
    "encode_refusal",
    "encode_request",
    "parse_request",
]

#: Bytes of a line: the server's and the client's bound.
MAX_REQUEST_SIZE: Final = 4096
MAX_ANSWER_SIZE: Final = 64 << 20
#: Workers that can be added or removed at once: a slip of the finger must not take the machine.
_MAX_COUNT: Final = 512

LEVELS: Final = ("critical", "error", "warning", "info", "debug")


def _is_count(value: object) -> bool:
    return type(value) is int and 1 <= value <= _MAX_COUNT


def _is_pid(value: object) -> bool:
    return type(value) is int and 1 <= value < 1 << 31


_COUNT: Final = ("count", f"a whole number, 1 to {_MAX_COUNT}", _is_count)

#: What can be asked: the method of Controls, and its parameter: name, what is expected, the check.
REQUESTS: Final[Mapping[str, tuple[str, str, Callable[[object], bool]] | None]] = {
    "status": None,
    "tasks": None,
    "add_workers": _COUNT,
    "remove_workers": _COUNT,
    "kill_worker": ("pid", "the process id of a worker", _is_pid),
    "add_dirty": _COUNT,
    "remove_dirty": _COUNT,
    "reload": None,
    "set_log_level": ("level", f"one of {', '.join(LEVELS)}", LEVELS.__contains__),
    "shutdown": ("now", "true or false", lambda value: isinstance(value, bool)),
}


def parse_request(line: bytes) -> tuple[str, dict[str, Any]]:
    """What is asked, and the arguments of that method of Controls.

    Raises:
        TrioserveError: it is no request: what was expected, what came.
    """
    try:
        request = json.loads(line)
    except (ValueError, RecursionError):
        raise TrioserveError(f"expected a line of JSON, got {line[:80]!r}") from None
    asked = request.get("ask") if isinstance(request, dict) else None
    if not isinstance(asked, str) or asked not in REQUESTS:
        raise TrioserveError(
            f'expected {{"ask": …}} with one of {", ".join(REQUESTS)}, got {line[:80]!r}'
        )
    parameter = REQUESTS[asked]
    given = request.get("with", {})
    if parameter is None:
        if given != {}:
            raise TrioserveError(f"{asked} takes nothing, got {given!r:.80}")
        return asked, {}
    name, expected, is_right = parameter
    if not isinstance(given, dict) or set(given) != {name} or not is_right(given[name]):
        raise TrioserveError(f'{asked} takes "{name}", {expected}, got {given!r:.80}')
    return asked, given


def encode_request(asked: str, arguments: Mapping[str, Any]) -> bytes:
    """A request's line."""
    return json.dumps({"ask": asked, "with": dict(arguments)}).encode() + b"\n"


def encode_answer(value: Any) -> bytes:
    """An answer's line, or a refusal's, if it would be too long.

    Raises:
        TypeError, ValueError: it can't be written as JSON.
    """
    line = json.dumps({"answer": value}).encode() + b"\n"
    if len(line) > MAX_ANSWER_SIZE:
        return encode_refusal(f"the answer is too long: {len(line):,} bytes")
    return line


def encode_refusal(text: str) -> bytes:
    """A refusal's line."""
    return json.dumps({"refused": text}).encode() + b"\n"

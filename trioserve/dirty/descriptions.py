# SPDX-License-Identifier: MIT
"""Values and exceptions of others, in words for a message. Pure; nothing here raises.

What is described is code that isn't ours: its ``__str__`` and ``__repr__`` may raise whatever they
like, a SystemExit included, and what they give may hold what UTF-8 can't. Even the ``repr`` of a
plain int raises, beyond 4,300 digits.
"""

from __future__ import annotations

import traceback
from typing import TYPE_CHECKING, Final, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Callable
    from types import EllipsisType, TracebackType

__all__ = ["Raised", "describe_exception", "shown"]

#: Characters of a traceback that travel: the end, where the error is.
_TRACEBACK_SIZE: Final = 16 * 1024
_NAME_SIZE: Final = 500
_MESSAGE_SIZE: Final = 4096


class Raised(NamedTuple):
    """What an exception says of itself, all of it sendable.

    Attributes:
        name, kind: its class's name, and that with its module.
        message: its own; empty where it has none.
        traceback: the end of it.
    """

    name: str
    kind: str
    message: str
    traceback: str


def describe_exception(
    exc: BaseException, frames: TracebackType | EllipsisType | None = ...
) -> Raised:
    """What an exception says of itself, and where it was raised.

    Args:
        exc: the exception.
        frames: the part of its traceback that is of interest; ``...`` = all.
    """
    cls = type(exc)
    frames = exc.__traceback__ if frames is ... else frames
    return Raised(
        _words(lambda: cls.__name__, "Exception")[:_NAME_SIZE],
        _words(lambda: _qualified(cls), "an exception without a name")[:_NAME_SIZE],
        _words(lambda: str(exc), "its message can't be had")[:_MESSAGE_SIZE],
        _words(
            lambda: "".join(traceback.format_exception(cls, exc, frames)),
            "its traceback can't be had\n",
        )[-_TRACEBACK_SIZE:],
    )


def _qualified(cls: type) -> str:
    if cls.__module__ in ("builtins", "__main__"):
        return cls.__qualname__
    return f"{cls.__module__}.{cls.__qualname__}"


def shown(value: object, size: int = 100) -> str:
    """The value as it stands in a message, cut where it is long."""
    text = _words(lambda: repr(value), "")
    if not text:
        text = _words(lambda: f"<{type(value).__name__}>", "<?>")
    return text if len(text) <= size else f"{text[:size]}…"


def _words(ask: Callable[[], str], otherwise: str) -> str:
    """What is answered, as UTF-8 can hold it; ``otherwise`` if nothing is."""
    try:
        return ask().encode(errors="backslashreplace").decode()
    except BaseException:  # the border of foreign code, which is only asked for words
        return otherwise

# SPDX-License-Identifier: MIT
"""Which certificate a client gets: by the name that it asks for (RFC 6066 section 3)."""

from __future__ import annotations

import contextlib
import sys
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import ssl
    from collections.abc import Iterator, Mapping

__all__ = ["NamedContexts", "bad_names_unreported"]


class NamedContexts:
    """Called by OpenSSL in the handshake, once the client has said what it wants.

    A name that isn't here, and none at all, leave the default: a wrong certificate tells a person
    more than a broken handshake does.

    Args:
        contexts: by lower-case name; ``*.example.org`` is for each name that has one label more.
    """

    def __init__(self, contexts: Mapping[str, ssl.SSLContext]) -> None:
        self._contexts = contexts

    def __call__(
        self, connection: ssl.SSLObject, name: str | None, default: ssl.SSLContext
    ) -> None:
        found = self.find(name)
        if found is not None:
            connection.context = found

    def find(self, name: str | None) -> ssl.SSLContext | None:
        """The context for a name, or None: the default is for it."""
        if not name:
            return None
        name = name.lower().removesuffix(".")
        exact = self._contexts.get(name)
        if exact is not None:
            return exact
        _, dot, rest = name.partition(".")
        return self._contexts.get(f"*.{rest}") if dot else None


@contextlib.contextmanager
def bad_names_unreported() -> Iterator[None]:
    """For a step of a handshake: a name that isn't ASCII fails it, and that is all.

    Python reports each such client by a traceback on stderr, past every logger. What else is
    reported meanwhile, by other threads, goes where it went.
    """
    report = sys.unraisablehook

    def report_others(unraisable: sys.UnraisableHookArgs) -> None:
        if unraisable.exc_type is not UnicodeDecodeError:
            report(unraisable)

    sys.unraisablehook = report_others
    try:
        yield
    finally:
        sys.unraisablehook = report

# SPDX-License-Identifier: MIT
"""``scope["extensions"]["trioserve"]``: what Trio can do for a request, beyond ASGI."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING, Any, Final

if TYPE_CHECKING:
    import trio

    from trioserve.asgi.background import BackgroundNursery

__all__ = ["NO_OPTIONS", "Options", "TrioExtension"]

_KEYS: Final = ("cancel_scope", "nursery")


class Options(Mapping[str, Any]):
    """An extension's value, immutable, so that all scopes may share it: a dict would carry what
    one request wrote there on to the next.
    """

    __slots__ = ("_values",)

    def __init__(self, values: Mapping[str, Any] | None = None) -> None:
        self._values = dict(values or {})

    def __getitem__(self, key: str) -> Any:
        return self._values[key]

    def __iter__(self) -> Iterator[str]:
        return iter(self._values)

    def __len__(self) -> int:
        return len(self._values)

    def __repr__(self) -> str:
        return repr(self._values)

    def __deepcopy__(self, memo: object) -> Options:
        return self  # tools copy scopes; a client can't be


#: The value of an extension that is either there or not.
NO_OPTIONS: Final = Options()


class TrioExtension(Mapping[str, Any]):
    """An immutable mapping with two keys.

    ==============  ========================================================================
    cancel_scope    the request's trio.CancelScope
    nursery         a BackgroundNursery: work that outlives the request
    ==============  ========================================================================

    One scope serves all requests of a connection for as long as no application has taken it. After
    a request that has, the connection goes on with a new one, so that neither a deadline set there
    nor a cancel() that comes late can meet another request.

    Attributes:
        taken: an application has looked the scope up.
    """

    __slots__ = ("_cancel_scope", "_nursery", "taken")

    def __init__(self, cancel_scope: trio.CancelScope, nursery: BackgroundNursery) -> None:
        self._cancel_scope = cancel_scope
        self._nursery = nursery
        self.taken = False

    def __getitem__(self, key: str) -> Any:
        if key == "cancel_scope":
            self.taken = True
            return self._cancel_scope
        if key == "nursery":
            return self._nursery
        raise KeyError(key)

    def __iter__(self) -> Iterator[str]:
        return iter(_KEYS)

    def __len__(self) -> int:
        return len(_KEYS)

    def __deepcopy__(self, memo: object) -> TrioExtension:
        return self  # tools copy scopes; a scope or a nursery can't be

# SPDX-License-Identifier: MIT
"""Which engine: the setting ``http2_engine``."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from trioserve.protocols.http2.engine import Engine, Listener, LocalSettings

__all__ = ["make_engine"]


def make_engine(name: str, listener: Listener, settings: LocalSettings) -> Engine:
    """An engine for one connection; its module is loaded when it is first needed.

    Args:
        name: "auto" and "native" for our own; "h2", "jh2" for these libraries.
        listener: is told what comes.
        settings: what is announced to the client.
    """
    if name in ("auto", "native"):
        from trioserve.protocols.http2.native_engine import NativeEngine

        return NativeEngine(listener, settings)
    from trioserve.protocols.http2.h2_engine import H2Engine

    return H2Engine(listener, settings, name)

# SPDX-License-Identifier: MIT
"""The exceptions of trioserve, named by who has to act.

============================  =====================================================
the operator                  ConfigError, AppImportError, BindError, StartupError
the application's author      AppProtocolError
nobody (the client left)      ClientDisconnectedError
============================  =====================================================

What a client did wrong on the wire never becomes one of these: a protocol machine reports it
as ``trioserve.protocols.errors.RemoteProtocolError`` and the connection answers with its status.
"""

from __future__ import annotations

__all__ = [
    "AppImportError",
    "AppProtocolError",
    "BindError",
    "ClientDisconnectedError",
    "ConfigError",
    "StartupError",
    "TrioserveError",
]


class TrioserveError(Exception):
    """Base of every error that trioserve raises on purpose."""


class ConfigError(TrioserveError):
    """A setting is unknown or has a value that can't be used.

    The message names the setting, the value that came and what was expected.
    """


class AppImportError(TrioserveError):
    """The application can't be imported, or what was imported is no ASGI application."""


class BindError(TrioserveError):
    """An address can't be bound. The message names it, the reason and what to do."""


class StartupError(TrioserveError):
    """The application's lifespan startup failed, so the server never began to accept."""


class AppProtocolError(TrioserveError):
    """The application broke the ASGI contract: it names what came and what was legal there.

    Source: the ASGI specification, HTTP & WebSocket message format, version 2.5.
    """


class ClientDisconnectedError(OSError):
    """``send()`` after the client has left (ASGI spec_version 2.4: an OSError subclass)."""

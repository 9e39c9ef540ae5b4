# SPDX-License-Identifier: MIT
"""From the settings to SSLContexts, and again whenever their files have changed.

No task and no timer: a handshake that begins asks for the context, and at most once a second that
question includes a look at the files. A change is taken over whole or not at all, so a certificate
that is just being replaced, or a broken one, never ends service. Connections that are open keep the
context that they began with.
"""

from __future__ import annotations

import logging
import math
import os
import ssl
import traceback
from typing import TYPE_CHECKING, Final

from trioserve.errors import AppImportError, ConfigError, TrioserveError
from trioserve.loading import load_hook
from trioserve.tls.files import ServerContext, load_authorities, load_certificate
from trioserve.tls.names import NamedContexts

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from typing import TypeAlias

    from trioserve.config import Config

    #: What of a file tells that it was changed; None where there is none.
    State: TypeAlias = tuple[int, int, int] | None

__all__ = ["TlsContexts", "open_contexts"]

_log = logging.getLogger("trioserve.error")

#: Seconds between two looks at the files, at least.
LOOK_INTERVAL: Final = 1.0

_VERIFY_MODES: Final = {
    "none": ssl.CERT_NONE,
    "optional": ssl.CERT_OPTIONAL,
    "required": ssl.CERT_REQUIRED,
}
_ALPN_NAMES: Final = {"h2": "h2", "h1": "http/1.1"}
_VERSIONS: Final = {"1.2": ssl.TLSVersion.TLSv1_2, "1.3": ssl.TLSVersion.TLSv1_3}


def _application_protocols(config: Config) -> tuple[str, ...]:
    """What ALPN (RFC 7301) offers, the preferred one first. This is the one place that says so."""
    return tuple(_ALPN_NAMES[name] for name in config.http_protocols)


def open_contexts(config: Config) -> TlsContexts | None:
    """The contexts for ``config``; None where it has no TLS.

    Raises:
        ConfigError: a file can't be read or used, the ciphers are unknown, or what the hook
            returned is no SSLContext.
        AppImportError: the hook can't be imported, or raised an exception, which is the cause.
    """
    return TlsContexts(config) if config.has_tls else None


class TlsContexts:
    """The current context for handshakes.

    Attributes:
        handshake_timeout: seconds; math.inf if there is no limit.
    """

    def __init__(self, config: Config) -> None:
        self._config = config
        self._hook: Callable[..., object] | None = None
        if config.ssl_context is not None:
            self._hook = load_hook("ssl_context", config.ssl_context, app_dir=config.app_dir)
        self._paths = _paths_of(config)
        self._seen = self._look()  # before they are read: a change during that is another one
        self._next_look = -math.inf
        self._current = self._build()
        self.handshake_timeout = config.tls_handshake_timeout or math.inf

    def current(self, now: float) -> ssl.SSLContext:
        """The context for a handshake that begins.

        Args:
            now: Trio's time, by which the files are looked at once in LOOK_INTERVAL.

        Errors handled here: those of files that were changed are logged, once a change, and the
        context stays what it was.
        """
        if now >= self._next_look:
            self._next_look = now + LOOK_INTERVAL
            seen = self._look()
            if seen != self._seen:
                self._seen = seen
                self._renew()
        return self._current

    def reload(self) -> bool:
        """Reads everything anew, changed or not; whether that succeeded. Errors are logged."""
        self._seen = self._look()
        return self._renew()

    def _look(self) -> tuple[State, ...]:
        return tuple(map(_state_of, self._paths))

    def _renew(self) -> bool:
        try:
            self._current = self._build()
        except TrioserveError as exc:
            trace = exc.__cause__ if isinstance(exc, AppImportError) else None  # the hook's
            _log.error("the TLS certificates stay what they were: %s", exc, exc_info=trace)
            return False
        _log.info("the TLS certificates were loaded again; new connections get the new ones")
        return True

    # -- making them ------------------------------------------------------------------------

    def _build(self) -> ssl.SSLContext:
        config = self._config
        others = {}
        for name, certfile, keyfile in config.sni_certificates:
            others[name] = self._make("sni_certificate", certfile, keyfile)
        default = self._make("certfile", config.certfile, config.keyfile)
        if others and default.sni_callback is None:  # a hook may have set its own
            default.sni_callback = NamedContexts(others)
        return default

    def _make(self, setting: str, certfile: str | None, keyfile: str | None) -> ssl.SSLContext:
        """A context by the settings, or by the hook, which may call for that."""
        config = self._config

        def make_default() -> ServerContext:
            context = _context_for(config)
            if certfile is not None:
                load_certificate(context, setting, certfile, keyfile, config.keyfile_password)
            return context

        context = self._ask_hook(make_default) if self._hook is not None else make_default()
        # After the hook: what is spoken here is not the certificates' business.
        context.set_alpn_protocols(list(_application_protocols(config)))
        # A handshake within a connection would answer reads with writes and the reverse, and can
        # be asked for without end. TLS 1.3 has none.
        context.options |= ssl.OP_NO_RENEGOTIATION
        return context

    def _ask_hook(self, make_default: Callable[[], ServerContext]) -> ssl.SSLContext:
        assert self._hook is not None
        try:
            context = self._hook(self._config, make_default)
        except TrioserveError:  # of make_default
            raise
        except Exception as exc:  # a border: the hook is the operator's code
            reason = "".join(traceback.format_exception_only(exc)).strip()
            raise AppImportError(f"ssl_context: the hook failed: {reason}") from exc
        if not isinstance(context, ssl.SSLContext):
            raise ConfigError(
                "ssl_context: expected the hook to return an ssl.SSLContext, "
                f"got {type(context).__name__}"
            )
        if context.protocol is ssl.PROTOCOL_TLS_CLIENT:
            raise ConfigError(
                "ssl_context: the hook returned a context for clients; make it by "
                "default_ssl_context_factory(), or by ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)"
            )
        return context


def _context_for(config: Config) -> ServerContext:
    """All of it but the certificate."""
    context = ServerContext(ssl.PROTOCOL_TLS_SERVER)
    context.minimum_version = _VERSIONS[config.tls_min_version]
    if config.ciphers is not None:
        try:
            context.set_ciphers(config.ciphers)
        except ssl.SSLError as exc:
            raise ConfigError(
                f"ciphers {config.ciphers!r}: OpenSSL knows no cipher by that; "
                "`openssl ciphers` lists names (TLS 1.3's own can't be chosen)"
            ) from exc
    if config.ca_certs is not None:
        load_authorities(context, config.ca_certs)
    context.verify_mode = _VERIFY_MODES[config.cert_reqs]
    return context


def _paths_of(config: Config) -> tuple[str, ...]:
    named: Sequence[str | None] = [
        path for one in config.sni_certificates for path in (one.certfile, one.keyfile)
    ]
    paths = (config.certfile, config.keyfile, config.ca_certs, *named)
    return tuple(dict.fromkeys(path for path in paths if path is not None))


def _state_of(path: str) -> State:
    try:
        status = os.stat(path)
    except (OSError, ValueError):
        return None
    return status.st_mtime_ns, status.st_size, status.st_ino

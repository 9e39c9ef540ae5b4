# SPDX-License-Identifier: MIT
"""The settings: frozen attrs classes, one a group, and :class:`Config`, which is all of them.

The groups are mixins, so there is one flat namespace of names: ``keep_alive_timeout`` in Python
and TOML is ``--keep-alive-timeout`` and ``TRIOSERVE_KEEP_ALIVE_TIMEOUT``. Code that needs one
group takes that group's type (a protocol machine takes :class:`Http1Options`), and a Config is one.

A class validates itself wherever it is built: a wrong value is a ConfigError that names the
setting, the value and what was expected. A name that doesn't exist is a TypeError, as for any
Python call (:meth:`Config.with_changes` and the other sources name the nearest one).
"""

from __future__ import annotations

from typing import Any, Final, Literal, Self

import attrs

from trioserve.config import kinds, process_kinds
from trioserve.config.control_options import ControlOptions
from trioserve.config.dirty_options import DirtyOptions
from trioserve.config.fields import about, setting
from trioserve.config.hook_options import HookOptions
from trioserve.config.http2_options import Http2Options
from trioserve.config.metrics_options import MetricsOptions
from trioserve.config.process_options import ProcessOptions
from trioserve.config.reload_options import ReloadOptions
from trioserve.config.tls_options import TlsOptions
from trioserve.config.websocket_options import WebSocketOptions
from trioserve.config.worker_options import WorkerOptions
from trioserve.errors import ConfigError
from trioserve.suggestions import did_you_mean

__all__ = [
    "ApplicationOptions",
    "Config",
    "Http1Options",
    "Http2Options",
    "ListenerOptions",
    "LogOptions",
    "ServerOptions",
]

_APPLICATION: Final = "Application"
_LISTENERS: Final = "Listeners"
_SERVER: Final = "Server"
_HTTP1: Final = "HTTP/1.1"
_LOGS: Final = "Logs"


@attrs.frozen(kw_only=True, slots=False)
class ApplicationOptions:
    """Which application, and how it is started and left."""

    app: str | None = setting(
        _APPLICATION, kinds.APP_SPEC, None, "The ASGI application, as module:attr"
    )
    factory: bool = setting(
        _APPLICATION, kinds.SWITCH, False, "Call the attribute without arguments to get the app"
    )
    app_dir: str = setting(
        _APPLICATION, kinds.DIRECTORY, ".", "Directory put first on sys.path to import the app"
    )
    root_path: str = setting(
        _APPLICATION, kinds.ROOT_PATH, "", "URL path under which a proxy mounts the app"
    )
    lifespan: Literal["auto", "on", "off"] = setting(
        _APPLICATION,
        kinds.choice("auto", "on", "off"),
        "auto",
        "Lifespan events: auto goes on without them if the app has none",
    )
    lifespan_startup_timeout: float = setting(
        _APPLICATION, kinds.SECONDS, 60.0, "For the app's startup; 0 = no limit"
    )
    lifespan_shutdown_timeout: float = setting(
        _APPLICATION, kinds.SECONDS, 30.0, "For the app's shutdown; 0 = no limit"
    )
    asgi_disconnect_grace_period: float = setting(
        _APPLICATION,
        kinds.SECONDS,
        3.0,
        "A request may go on after its client left, then it is cancelled; 0 = cancel at once",
    )


@attrs.frozen(kw_only=True, slots=False)
class ListenerOptions:
    """Where connections come from, and how many."""

    bind: tuple[str, ...] = attrs.field(
        default=("127.0.0.1:8000",),
        converter=kinds.as_texts,
        validator=kinds.ADDRESSES,
        metadata=about(
            _LISTENERS,
            kinds.ADDRESSES,
            "Listen here: host:port, [::1]:port, unix:path or fd://N; may be repeated",
        ),
    )
    backlog: int = setting(
        _LISTENERS, kinds.AT_LEAST_ONE, 2048, "Connections the kernel holds until accepted"
    )
    max_connections: int = setting(
        _LISTENERS, kinds.COUNT, 0, "Stop accepting at so many open connections; 0 = no limit"
    )
    unix_socket_mode: int = attrs.field(
        default=0o666,
        converter=kinds.as_mode,
        validator=kinds.MODE,
        metadata=about(_LISTENERS, kinds.MODE, "Permission bits of a Unix socket, in octal"),
    )


@attrs.frozen(kw_only=True, slots=False)
class ServerOptions:
    """The server as a whole."""

    graceful_timeout: float = setting(
        _SERVER, kinds.SECONDS, 30.0, "Open requests may finish after a stop; 0 = end them at once"
    )
    server_header: bool = setting(_SERVER, kinds.SWITCH, True, "Send a Server field")
    date_header: bool = setting(_SERVER, kinds.SWITCH, True, "Send a Date field")


@attrs.frozen(kw_only=True, slots=False)
class Http1Options:
    """HTTP/1.1 and 1.0: parser, deadlines, limits."""

    http: Literal["auto", "httptools", "h11"] = setting(
        _HTTP1, kinds.HTTP_PARSER, "auto", "The parser: auto is httptools where installed, else h11"
    )
    keep_alive_timeout: float = setting(
        _HTTP1, kinds.SECONDS, 5.0, "Close a connection idle between requests; 0 = never"
    )
    header_timeout: float = setting(
        _HTTP1, kinds.SECONDS, 10.0, "From the first byte of a request to its head; 0 = no limit"
    )
    body_timeout: float = setting(
        _HTTP1,
        kinds.SECONDS,
        60.0,
        "The app may wait for a request's body, plus 1 s for every 500 bytes that came; "
        "0 = no limit",
    )
    write_timeout: float = setting(
        _HTTP1, kinds.SECONDS, 30.0, "Writing to a client without any progress; 0 = no limit"
    )
    request_timeout: float = setting(
        _HTTP1, kinds.SECONDS, 0.0, "A whole request from its head to its response; 0 = no limit"
    )
    max_requests_per_connection: int = setting(
        _HTTP1, kinds.COUNT, 0, "Then close the connection; 0 = no limit"
    )
    limit_request_line: int = setting(_HTTP1, kinds.SIZE_LIMIT, 8190, "Longest request line")
    limit_request_fields: int = setting(
        _HTTP1, kinds.AT_LEAST_ONE, 100, "Most header fields of a request"
    )
    limit_request_field_size: int = setting(
        _HTTP1, kinds.SIZE_LIMIT, 8190, "Longest header field, name and value"
    )
    max_body_size: int = setting(
        _HTTP1, kinds.BYTES, 0, "Longest request body, else 413; 0 = no limit"
    )


@attrs.frozen(kw_only=True, slots=False)
class LogOptions:
    """What is written, and how."""

    access_log: bool = setting(_LOGS, kinds.SWITCH, True, "Write a line for every request")
    access_log_format: str = setting(
        _LOGS,
        kinds.ACCESS_LOG_FORMAT,
        '%(h)s %(l)s %(u)s %(t)s "%(r)s" %(s)s %(b)s "%(f)s" "%(a)s"',
        "Format of that line, of gunicorn's atoms",
    )
    log_level: Literal["critical", "error", "warning", "info", "debug"] = setting(
        _LOGS,
        kinds.choice("critical", "error", "warning", "info", "debug"),
        "info",
        "Least severe messages to write",
    )
    log_format: Literal["text", "json"] = setting(
        _LOGS, kinds.choice("text", "json"), "text", "Lines of text, or one JSON object a line"
    )
    access_log_file: str = attrs.field(
        default="-",
        converter=kinds.as_path_text,
        validator=process_kinds.LOG_FILE,
        metadata=about(
            _LOGS, process_kinds.LOG_FILE, "Append those lines to this file; - is stdout"
        ),
    )
    error_log_file: str = attrs.field(
        default="-",
        converter=kinds.as_path_text,
        validator=process_kinds.LOG_FILE,
        metadata=about(
            _LOGS, process_kinds.LOG_FILE, "Append all other messages to this file; - is stderr"
        ),
    )


# Several bases with fields can't have slots: their layouts would conflict.
@attrs.frozen(kw_only=True, slots=False)
class Config(
    ApplicationOptions,
    ListenerOptions,
    TlsOptions,
    ServerOptions,
    WorkerOptions,
    Http1Options,
    Http2Options,
    WebSocketOptions,
    DirtyOptions,
    ProcessOptions,
    HookOptions,
    ControlOptions,
    MetricsOptions,
    LogOptions,
    ReloadOptions,
):
    """All settings. Immutable, hashable, valid.

    >>> Config(bind=["127.0.0.1:0"], keep_alive_timeout=2).bind
    ('127.0.0.1:0',)
    """

    def __attrs_post_init__(self) -> None:
        # attrs calls one for the whole class; without this it would be the first group's alone.
        TlsOptions.__attrs_post_init__(self)
        self._check_protocols()
        DirtyOptions.__attrs_post_init__(self)
        ProcessOptions.__attrs_post_init__(self)

    def _check_protocols(self) -> None:
        cleartext = self.insecure_bind or not (self.certfile or self.ssl_context)
        if cleartext and self.http_protocols == ("h2",) and self.http2_cleartext == "off":
            raise ConfigError(
                'http_protocols "h2" with http2_cleartext "off": an address without TLS would '
                'serve nothing; add "h1" to http_protocols, or leave http2_cleartext as it is'
            )

    def with_changes(self, **changes: Any) -> Self:
        """Return a copy with some settings changed.

        Raises:
            ConfigError: A name is unknown (the nearest is named), or a value is wrong.
        """
        known = [attribute.name for attribute in attrs.fields(type(self))]
        for name in changes:
            if name not in known:
                raise ConfigError(f"{name}: no such setting{did_you_mean(name, known)}")
        return attrs.evolve(self, **changes)

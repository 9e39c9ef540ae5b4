# SPDX-License-Identifier: MIT
"""The access log's format: gunicorn's atoms, compiled once into a template and its getters.

Pure: an entry goes in, a line comes out. No logging here, so that the configuration can check a
format without it.

Rule of this file: whatever bytes a client sends, its text comes out as printable characters
without a bare quote or backslash. A line can't be forged, and a quoted field can't be left. Getters
give text as it is; it is escaped in one place, after the whole line was seen to need it.
"""

from __future__ import annotations

import base64
import binascii
import os
import re
import time
from collections.abc import Callable, Iterable, Mapping
from typing import TYPE_CHECKING, Final, TypeAlias
from urllib.parse import quote

import attrs

from trioserve.errors import ConfigError
from trioserve.escaping import escape
from trioserve.timestamps import PerSecond, common_log_time

if TYPE_CHECKING:
    from trioserve.types import Scope

__all__ = [
    "ATOMS",
    "AccessEntry",
    "basic_auth_user",
    "check_access_log_format",
    "compile_access_format",
    "request_target",
]

#: What is kept of a scope that is pickled: the ASGI keys with plain values, never an app's state.
_PLAIN_KEYS: Final = (
    *("type", "http_version", "method", "scheme", "path", "raw_path", "query_string"),
    *("root_path", "headers", "client", "server", "subprotocols"),
)


@attrs.define(eq=False)
class AccessEntry:
    """One exchange that has ended, as the access log is handed it.

    Attributes:
        scope: the ASGI scope, ``http`` or ``websocket``. Header names are lower case.
        status: the status that was sent; 499 (nginx's "client closed request") when the client
            left before there was one.
        response_headers: the application's, as it gave them, in any case.
        body_size: bytes of response body sent, without framing.
        duration: seconds from the request's head to the response's end.
        disconnected: the client left before the response was complete.
    """

    scope: Scope
    status: int
    response_headers: Iterable[tuple[bytes, bytes]]
    body_size: int
    duration: float
    disconnected: bool = False

    def __reduce__(self) -> tuple[object, ...]:
        # Handlers that pickle records (SocketHandler, a QueueHandler between processes) would
        # fail on the live objects that a scope carries in its state and extensions.
        scope = {key: self.scope[key] for key in _PLAIN_KEYS if key in self.scope}
        headers = list(self.response_headers)
        return AccessEntry, (
            scope,
            self.status,
            headers,
            self.body_size,
            self.duration,
            self.disconnected,
        )


# --- what the request says


def basic_auth_user(authorization: bytes) -> str | None:
    """The user's name in an ``Authorization: Basic`` field (RFC 7617 section 2), unescaped.

    Returns:
        None for another scheme, an empty name, or credentials that don't decode. Bytes that are
        no UTF-8 come as ``surrogateescape`` has them.
    """
    scheme, _, credentials = authorization.partition(b" ")
    if scheme.lower() != b"basic":
        return None
    try:
        decoded = base64.b64decode(credentials.strip(), validate=True)
    except binascii.Error:
        return None
    user, colon, _ = decoded.partition(b":")
    return user.decode("utf-8", "surrogateescape") if colon and user else None


def request_target(scope: Scope) -> bytes:
    """The path as the client sent it, percent-encoded, and its query."""
    path = _sent_path(scope)
    query: bytes = scope.get("query_string") or b""
    return path + b"?" + query if query else path


def _sent_path(scope: Scope) -> bytes:
    # raw_path is optional in ASGI; the path it was decoded to may hold lone surrogates.
    raw: bytes | None = scope.get("raw_path")
    return raw or quote(scope.get("path", ""), errors="surrogatepass").encode("ascii")


# --- the atoms

#: An atom's value, not yet escaped, from the entry and the request's fields (of several with one
#: name, the last). Bytes that are no UTF-8 are lone surrogates in it.
_Getter: TypeAlias = Callable[[AccessEntry, Mapping[bytes, bytes]], str | int]


def _host(entry: AccessEntry, fields: Mapping[bytes, bytes]) -> str:
    client = entry.scope.get("client")
    return _unspaced(client[0]) if client and client[0] else "-"


def _user(entry: AccessEntry, fields: Mapping[bytes, bytes]) -> str:
    authorization = fields.get(b"authorization")
    user = None if authorization is None else basic_auth_user(authorization)
    return "-" if user is None else _unspaced(user)


def _unspaced(text: str) -> str:
    # The common log format has these fields without quotes: a space would shift those after it.
    return text.replace(" ", "%20") if " " in text else text


def _request_line(entry: AccessEntry, fields: Mapping[bytes, bytes]) -> str:
    scope = entry.scope
    target = request_target(scope).decode("utf-8", "surrogateescape")
    return f"{scope.get('method', 'GET')} {target} HTTP/{scope.get('http_version', '1.1')}"


def _request_field(name: bytes) -> _Getter:
    def get(entry: AccessEntry, fields: Mapping[bytes, bytes]) -> str:
        value = fields.get(name)
        return "-" if value is None else value.decode("utf-8", "surrogateescape")

    return get


def _response_field(name: bytes) -> _Getter:
    def get(entry: AccessEntry, fields: Mapping[bytes, bytes]) -> str:
        found = b"-"
        for key, value in entry.response_headers:
            if key.lower() == name:
                found = value
        return found.decode("utf-8", "surrogateescape")

    return get


def _time_getter() -> _Getter:
    stamp = PerSecond(common_log_time)
    return lambda entry, fields: stamp(time.time())


@attrs.frozen
class Atom:
    """What ``%(name)s`` stands for. ``make`` gives each compiled format a getter of its own."""

    meaning: str
    make: Callable[[], _Getter]
    is_number: bool = False


def _atom(meaning: str, get: _Getter, *, is_number: bool = False) -> Atom:
    return Atom(meaning, lambda: get, is_number)


#: Every plain atom. Besides: ``{name}i``, ``{name}o`` and ``{name}e``.
ATOMS: Final[Mapping[str, Atom]] = {
    "h": _atom("the client's address, `-` on a Unix socket", _host),
    "l": _atom("always `-`", lambda e, f: "-"),
    "u": _atom("the user's name of HTTP basic authentication, or `-`", _user),
    "t": Atom("the local time, `[22/Nov/2026:12:00:00 +0000]`", _time_getter),
    "r": _atom("the request line, `GET /path?query HTTP/1.1`", _request_line),
    "m": _atom("the method", lambda e, f: str(e.scope.get("method", "GET"))),
    "U": _atom(
        "the path without the query, percent-encoded as it was sent",
        lambda e, f: _sent_path(e.scope).decode("utf-8", "surrogateescape"),
    ),
    "q": _atom(
        "the query",
        lambda e, f: (e.scope.get("query_string") or b"").decode("utf-8", "surrogateescape"),
    ),
    "H": _atom(
        "the protocol, `HTTP/1.1`",
        lambda e, f: f"HTTP/{e.scope.get('http_version', '1.1')}",
    ),
    "s": _atom("the status", lambda e, f: e.status, is_number=True),
    "B": _atom("bytes of response body sent", lambda e, f: e.body_size, is_number=True),
    "b": _atom("the same, `-` for none", lambda e, f: e.body_size or "-"),
    "f": Atom("the Referer field, or `-`", lambda: _request_field(b"referer")),
    "a": Atom("the User-Agent field, or `-`", lambda: _request_field(b"user-agent")),
    "T": _atom("duration, whole seconds", lambda e, f: int(e.duration), is_number=True),
    "D": _atom("duration, microseconds", lambda e, f: int(e.duration * 1e6), is_number=True),
    "M": _atom("duration, milliseconds", lambda e, f: int(e.duration * 1e3), is_number=True),
    "L": _atom("duration, seconds with six decimals", lambda e, f: f"{e.duration:.6f}"),
    "p": _atom("the process id, `<4711>`", lambda e, f: f"<{os.getpid()}>"),
    "X": _atom(
        "`X` where the client left before the response was complete, else `-`",
        lambda e, f: "X" if e.disconnected else "-",
    ),
}


# --- the format

# No precision: cutting an escaped text could leave `\` before the format's closing quote.
_DIRECTIVE: Final = re.compile(r"%(?:%|\((?P<atom>[^)]*)\)(?P<width>-?\d{0,3})(?P<kind>[sd]))?")
_FIELD_ATOM: Final = re.compile(r"\{([!#$%&'*+.^_`|~0-9A-Za-z-]+)\}([io])")  # RFC 9110 5.6.2: token
_ENVIRONMENT_ATOM: Final = re.compile(r"\{([^={}\0]+)\}e")


def compile_access_format(text: str) -> Callable[[AccessEntry], str]:
    """A function that renders entries by the format ``text``.

    ``%(atom)s`` and, for numbers, ``%(atom)d``, with an optional width (``%(s)5s``, ``%(h)-15s``);
    ``%%`` is a percent sign. ``%({name}e)s`` is read here, once.

    Returns:
        A function of an entry that gives one printable line without its end. What the client or
        the application sent is escaped (`escape`).

    Raises:
        ConfigError: an atom is unknown, a ``%`` stands alone, or the text itself holds a control
            character other than a tab.
    """
    _check_literals(text)
    template: list[str] = []
    getters: list[_Getter] = []
    end = 0
    for match in _DIRECTIVE.finditer(text):
        template.append(text[end : match.start()])
        end = match.end()
        if match.group() == "%%":
            template.append("%%")
            continue
        name, width, kind = match.group("atom", "width", "kind")
        if name is None:
            raise ConfigError(
                f"access_log_format: {text[match.start() :][:20]!r} is no %(atom)s; "
                "a percent sign itself is written %%"
            )
        template.append(f"%{width}{kind}")
        getters.append(_getter(name, kind))
    template.append(text[end:])
    return _renderer("".join(template), getters)


def check_access_log_format(text: str) -> None:
    """Raise the ConfigError that `compile_access_format` would raise; else do nothing."""
    compile_access_format(text)


def _check_literals(text: str) -> None:
    bad = next((char for char in text if not char.isprintable() and char != "\t"), None)
    if bad is not None:
        raise ConfigError(
            f"access_log_format: contains {bad!r}; expected one line of printable characters"
        )


def _getter(name: str, kind: str) -> _Getter:
    atom = ATOMS.get(name)
    if kind == "d" and not (atom and atom.is_number):
        numbers = " ".join(key for key, value in ATOMS.items() if value.is_number)
        raise ConfigError(
            f"access_log_format: %({name})d: only the atoms {numbers} are numbers; write %({name})s"
        )
    if atom is not None:
        return atom.make()
    if match := _FIELD_ATOM.fullmatch(name):
        field = match[1].lower().encode("ascii")
        return _request_field(field) if match[2] == "i" else _response_field(field)
    if match := _ENVIRONMENT_ATOM.fullmatch(name):
        value = os.environ.get(match[1], "-")
        return lambda entry, fields: value
    raise ConfigError(
        f"access_log_format: unknown atom %({name})s; expected one of {' '.join(ATOMS)}, "
        "{name}i (request field), {name}o (response field) or {name}e (environment variable)"
    )


def _renderer(template: str, getters: list[_Getter]) -> Callable[[AccessEntry], str]:
    quotes, backslashes = template.count('"'), template.count("\\")

    def render(entry: AccessEntry) -> str:
        # One dict serves all atoms that look for fields: cheaper than a scan for each.
        fields = dict(entry.scope["headers"])
        values = [get(entry, fields) for get in getters]
        line = template % tuple(values)
        if (
            line.isprintable()
            and line.count('"') == quotes
            and line.count("\\") == backslashes  # no more of them than the format's own
        ):
            return line
        return template % tuple([escape(v) if isinstance(v, str) else v for v in values])

    return render

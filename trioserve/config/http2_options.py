# SPDX-License-Identifier: MIT
"""The settings of HTTP/2: a group like those in :mod:`.options`."""

from __future__ import annotations

from importlib.util import find_spec
from typing import Any, Final, Literal

import attrs

from trioserve.config import kinds
from trioserve.config.fields import about, setting
from trioserve.config.kinds import Kind
from trioserve.errors import ConfigError

__all__ = ["Http2Options"]

_HTTP2: Final = "HTTP/2"
_PROTOCOLS: Final = ("h2", "h1")
_ENGINE_NAMES: Final = kinds.choice("auto", "native", "h2", "jh2")


def _are_protocols(value: Any) -> bool:
    return (
        kinds.are_texts(value)
        and 0 < len(value) == len(set(value))
        and all(name in _PROTOCOLS for name in value)
    )


def _is_usable_engine(value: Any) -> bool:
    if value == "jh2" and find_spec("jh2") is None:
        raise ConfigError(
            "http2_engine 'jh2': jh2 is not installed here; install it (pip install jh2), "
            'or use "auto", "native" or "h2"'
        )
    return _ENGINE_NAMES.accepts(value)


def _or_profile(expected: str, least: int, most: int) -> Kind:
    """Whole numbers, 0 for what the profile says."""
    return Kind(
        unit="bytes" if most > 100_000 and least > 1 else "count",
        expected=f"{expected}, {least:,} to {most:,}, or 0 for the profile's",
        accepts=lambda value: kinds.is_int(value, 0, 0) or kinds.is_int(value, least, most),
        from_text=kinds.int_from_text,
    )


_PROTOCOL_NAMES: Final = Kind(
    unit="names",
    expected='"h2", "h1" or both, each once',
    accepts=_are_protocols,
    convert=kinds.as_texts,
    from_text=kinds.texts_from_text,
    is_list=True,
)
_ENGINE: Final = attrs.evolve(_ENGINE_NAMES, accepts=_is_usable_engine)


@attrs.frozen(kw_only=True, slots=False)
class Http2Options:
    """HTTP/2: where it is spoken, and what a client may ask of it."""

    http_protocols: tuple[str, ...] = attrs.field(
        default=_PROTOCOLS,
        converter=kinds.as_texts,
        validator=_PROTOCOL_NAMES,
        metadata=about(
            _HTTP2,
            _PROTOCOL_NAMES,
            "Versions of HTTP that are spoken, the one that is preferred first",
        ),
    )
    http2_cleartext: Literal["off", "prior-knowledge"] = setting(
        _HTTP2,
        kinds.choice("off", "prior-knowledge"),
        "prior-knowledge",
        "Without TLS: to clients that begin with HTTP/2's preface",
    )
    http2_profile: Literal["conservative", "balanced", "high-concurrency"] = setting(
        _HTTP2,
        kinds.choice("conservative", "balanced", "high-concurrency"),
        "balanced",
        "What the next four settings are where they are 0",
    )
    http2_max_concurrent_streams: int = setting(
        _HTTP2,
        _or_profile("a whole number", 1, 2**31 - 1),
        0,
        "Requests that a connection may have open at a time; balanced: 100",
    )
    http2_initial_window_size: int = setting(
        _HTTP2,
        _or_profile("bytes", 1024, 2**31 - 1),
        0,
        "Of a request's body that may come before the app takes any; balanced: 131072",
    )
    http2_max_frame_size: int = setting(
        _HTTP2,
        _or_profile("bytes", 2**14, 2**24 - 1),
        0,
        "Largest frame that is taken; balanced: 65536",
    )
    http2_max_header_list_size: int = setting(
        _HTTP2,
        _or_profile("bytes", 1024, 2**24),
        0,
        "Largest head, as RFC 9113 counts it; balanced: 65536",
    )
    http2_engine: Literal["auto", "native", "h2", "jh2"] = setting(
        _HTTP2,
        _ENGINE,
        "auto",
        "Frames and header compression: our own (auto), or the library h2, or jh2 where installed",
    )

# SPDX-License-Identifier: MIT
"""The settings of metrics: a group like those in :mod:`.options`."""

from __future__ import annotations

import re
from importlib.util import find_spec
from typing import Any, Final

import attrs

from trioserve.addresses import FdAddress, parse_bind
from trioserve.config import kinds
from trioserve.config.fields import about, setting
from trioserve.config.kinds import Kind
from trioserve.errors import ConfigError

__all__ = ["MetricsOptions"]

_METRICS: Final = "Metrics"


def _are_metrics_addresses(value: Any) -> bool:
    if not kinds.are_texts(value):
        return False
    for text in value:
        try:
            parse_bind(text)
        except ConfigError as exc:  # it says which part of a "bind" is wrong
            raise ConfigError(f"metrics_{exc}") from exc
    if value and find_spec("prometheus_client") is None:
        raise ConfigError(
            f"metrics_bind {value!r}: prometheus-client is not installed here; install it "
            "(pip install 'trioserve[metrics]')"
        )
    return True


def _is_statsd_host(value: Any) -> bool:
    if value is None:
        return True
    if not isinstance(value, str):
        return False
    try:
        address = parse_bind(value)
    except ConfigError as exc:
        raise ConfigError(str(exc).replace("bind", "statsd_host", 1)) from exc
    if isinstance(address, FdAddress):
        return False
    # parse_bind has a port of its own for a host alone, and takes no host as all interfaces.
    return value.startswith("unix:") or bool(re.fullmatch(r".+:0*[1-9]\d*", value))


_ADDRESSES: Final = Kind(
    unit="address",
    expected="addresses, each host:port, unix:path or fd://N",
    accepts=_are_metrics_addresses,
    convert=kinds.as_texts,
    from_text=kinds.texts_from_text,
    is_list=True,
)
_STATSD_HOST: Final = Kind(
    unit="address",
    expected='host:port or unix:path, as in "127.0.0.1:8125"',
    accepts=_is_statsd_host,
)
#: What statsd's own punctuation is not in; dogstatsd's tags have colons and commas.
_PREFIX: Final = Kind(
    unit="text",
    expected='a text of ASCII characters without spaces and none of ":|@#"',
    accepts=lambda value: (
        isinstance(value, str)
        and bool(re.fullmatch(r"[!-~]*", value))
        and not set(value) & set(":|@#")
    ),
)
_TAGS: Final = Kind(
    unit="text",
    expected='tags with commas between them, as in "env:prod,region:eu", in ASCII, without spaces, '
    '"|" and "#"',
    accepts=lambda value: (
        isinstance(value, str)
        and bool(re.fullmatch(r"[!-~]*", value))
        and not set(value) & set("|#")
    ),
)


@attrs.frozen(kw_only=True, slots=False)
class MetricsOptions:
    """Figures for Prometheus, and for statsd."""

    metrics_bind: tuple[str, ...] = attrs.field(
        default=(),
        converter=kinds.as_texts,
        validator=_ADDRESSES,
        metadata=about(
            _METRICS,
            _ADDRESSES,
            "Answer Prometheus here, at /metrics; as bind; may be repeated",
        ),
    )
    statsd_host: str | None = setting(
        _METRICS, _STATSD_HOST, None, "Send figures to this statsd: host:port or unix:path"
    )
    statsd_prefix: str = setting(
        _METRICS, _PREFIX, "", "Put before the name of each figure sent; a final dot is added"
    )
    dogstatsd_tags: str = setting(
        _METRICS, _TAGS, "", "Tags of each figure sent, for Datadog's statsd, as in a:1,b:2"
    )

    @property
    def has_metrics(self) -> bool:
        """Somebody is given figures, so that they have to be counted."""
        return bool(self.metrics_bind or self.statsd_host)

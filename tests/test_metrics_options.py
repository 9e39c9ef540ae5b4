# SPDX-License-Identifier: MIT
"""The settings of metrics: what they accept, refuse and say."""

from __future__ import annotations

from typing import Any

import pytest

from trioserve.config import Config, metrics_options
from trioserve.errors import ConfigError


def test_by_default_nobody_is_given_figures() -> None:
    config = Config()
    assert (config.metrics_bind, config.statsd_host) == ((), None)
    assert not config.has_metrics
    assert Config(metrics_bind=":9100").has_metrics
    assert Config(statsd_host="unix:/run/statsd").has_metrics


@pytest.mark.parametrize(
    "host", ["127.0.0.1:8125", "[::1]:8125", "statsd.example:1", "unix:/run/statsd", "unix:@name"]
)
def test_a_statsd_host_is_a_host_with_its_port_or_a_path(host: str) -> None:
    assert Config(statsd_host=host).statsd_host == host


_HOST = 'expected host:port or unix:path, as in "127.0.0.1:8125"'
_TAGS = (
    'expected tags with commas between them, as in "env:prod,region:eu", in ASCII, without spaces'
)


@pytest.mark.parametrize(
    ("name", "value", "message"),
    [
        ("metrics_bind", ":", "metrics_bind ':': the port is missing after \":\""),
        ("metrics_bind", [1], "metrics_bind (1,): expected addresses, each host:port, unix:path"),
        ("statsd_host", "localhost", f"statsd_host 'localhost': {_HOST}"),
        ("statsd_host", "localhost:0", f"statsd_host 'localhost:0': {_HOST}"),
        ("statsd_host", ":8125", f"statsd_host ':8125': {_HOST}"),
        ("statsd_host", "fd://3", f"statsd_host 'fd://3': {_HOST}"),
        ("statsd_host", 8125, f"statsd_host 8125: {_HOST}"),
        ("statsd_host", "unix:", "statsd_host 'unix:': the path is missing; expected unix:path"),
        ("statsd_prefix", "a b", "statsd_prefix 'a b': expected a text of ASCII characters"),
        ("statsd_prefix", "a:b", "statsd_prefix 'a:b': expected a text of ASCII characters"),
        ("statsd_prefix", "ä", "statsd_prefix 'ä': expected a text of ASCII characters"),
        ("dogstatsd_tags", "a|b", f"dogstatsd_tags 'a|b': {_TAGS}"),
        ("dogstatsd_tags", "a\n", f"dogstatsd_tags 'a\\n': {_TAGS}"),
    ],
)
def test_a_wrong_value_is_one_clear_error(name: str, value: Any, message: str) -> None:
    with pytest.raises(ConfigError) as caught:
        Config(**{name: value})
    assert str(caught.value).startswith(message)


def test_without_the_library_metrics_bind_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(metrics_options, "find_spec", lambda _: None)
    Config()
    with pytest.raises(ConfigError) as caught:
        Config(metrics_bind=":9100")
    assert str(caught.value) == (
        "metrics_bind (':9100',): prometheus-client is not installed here; install it "
        "(pip install 'trioserve[metrics]')"
    )

# SPDX-License-Identifier: MIT
"""Settings on their way to a worker."""

from __future__ import annotations

import json

import pytest

from trioserve.config import Config
from trioserve.errors import ConfigError
from trioserve.workers import from_json, to_json


def through_json(config: Config) -> Config:
    return from_json(json.loads(json.dumps(to_json(config))))


def test_settings_arrive_as_they_were() -> None:
    config = Config(
        app="shop.web:make_app",
        factory=True,
        bind=["127.0.0.1:0", "unix:/run/x.sock"],
        unix_socket_mode=0o640,
        keep_alive_timeout=1.5,
        http_protocols=["h1"],
        access_log_format="%(h)s",
        dirty_app=["shop.models:Recommender:2", "shop.models:Search"],
        worker_init="shop.hooks:begin",
        on_dirty_starting="shop.hooks:dirty",
        umask=0o027,
        root_path="/shop",
    )
    assert through_json(config) == config
    assert through_json(Config()) == Config()


def test_only_what_is_no_default_travels() -> None:
    assert to_json(Config(workers=3)) == {"workers": 3}


def test_a_callable_can_not_travel_and_the_error_names_the_setting() -> None:
    with pytest.raises(ConfigError, match=r"^ssl_context <function .*with workers it must be the"):
        to_json(Config(ssl_context=lambda _config, make: make()))

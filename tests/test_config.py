# SPDX-License-Identifier: MIT
"""What a Config accepts, refuses and says, wherever it is built in Python."""

from __future__ import annotations

import importlib.util
from functools import partial
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import attrs
import pytest

from trioserve.config import (
    ApplicationOptions,
    Config,
    DirtyOptions,
    Http1Options,
    ListenerOptions,
    LogOptions,
    ServerOptions,
)
from trioserve.config.settings import GROUPS, all_settings
from trioserve.errors import ConfigError


def test_defaults_are_the_documented_ones() -> None:
    config = Config()
    assert config.app is None
    assert config.bind == ("127.0.0.1:8000",)
    assert config.keep_alive_timeout == 5
    assert config.asgi_disconnect_grace_period == 3
    assert config.unix_socket_mode == 0o666
    assert config.access_log_format == '%(h)s %(l)s %(u)s %(t)s "%(r)s" %(s)s %(b)s "%(f)s" "%(a)s"'


def test_a_config_is_each_of_its_groups_and_hashable() -> None:
    config = Config(keep_alive_timeout=2)
    groups = (
        ApplicationOptions,
        ListenerOptions,
        ServerOptions,
        Http1Options,
        DirtyOptions,
        LogOptions,
    )
    assert all(isinstance(config, group) for group in groups)
    assert hash(config) == hash(Config(keep_alive_timeout=2.0))


def test_a_config_is_immutable() -> None:
    with pytest.raises(attrs.exceptions.FrozenInstanceError):
        Config().backlog = 1  # type: ignore[misc]


@pytest.mark.parametrize(
    ("given", "name", "held"),
    [
        ({"bind": "127.0.0.1:0"}, "bind", ("127.0.0.1:0",)),
        ({"bind": ["unix:a", "fd://3"]}, "bind", ("unix:a", "fd://3")),
        ({"bind": (text for text in ["[::1]:0"])}, "bind", ("[::1]:0",)),
        ({"root_path": "/api/"}, "root_path", "/api"),
        ({"root_path": "/"}, "root_path", ""),
        ({"unix_socket_mode": "0660"}, "unix_socket_mode", 0o660),
        ({"unix_socket_mode": "0o600"}, "unix_socket_mode", 0o600),
        ({"unix_socket_mode": 0o600}, "unix_socket_mode", 0o600),
        ({"app_dir": Path("src")}, "app_dir", "src"),
        ({"request_timeout": 1}, "request_timeout", 1.0),
        ({"dirty_app": "a:A"}, "dirty_app", ("a:A",)),
        ({"dirty_app": ["a:A", "a:B:2"]}, "dirty_app", ("a:A", "a:B:2")),
        ({"dirty_socket": Path("/run/x")}, "dirty_socket", "/run/x"),
        ({"control_socket": Path("/run/x")}, "control_socket", "/run/x"),
        ({"control_socket": "off"}, "control_socket", "off"),
        ({"dirty_worker_init": find_spec}, "dirty_worker_init", "importlib.util:find_spec"),
        ({"dirty_worker_init": Path.resolve}, "dirty_worker_init", "pathlib:Path.resolve"),
    ],
)
def test_what_comes_is_brought_into_one_form(
    given: dict[str, Any], name: str, held: object
) -> None:
    value = getattr(Config(**given), name)
    assert value == held
    assert type(value) is type(held)


def _main_function() -> None: ...


_main_function.__module__ = "__main__"

_NUMBER = "seconds, a number of 0 or more"
_WORKER_HOOK = (
    '"module:attr" as text, or a callable that another process can import from its module '
    "(no lambda, no inner function, nothing of __main__)"
)
_ADDRESSES = "one address or more, each host:port, unix:path or fd://N"


@pytest.mark.parametrize(
    ("name", "value", "message"),
    [
        ("keep_alive_timeout", "2", f"keep_alive_timeout '2': expected {_NUMBER}"),
        ("keep_alive_timeout", -1, f"keep_alive_timeout -1: expected {_NUMBER}"),
        ("keep_alive_timeout", True, f"keep_alive_timeout True: expected {_NUMBER}"),
        ("write_timeout", float("nan"), f"write_timeout nan: expected {_NUMBER}"),
        ("write_timeout", float("inf"), f"write_timeout inf: expected {_NUMBER}"),
        ("write_timeout", 10**400, f"write_timeout {10**400}: expected {_NUMBER}"),
        ("max_connections", 1.0, "max_connections 1.0: expected a whole number of 0 or more"),
        ("backlog", 0, "backlog 0: expected a whole number, 1 to 2147483647"),
        ("max_body_size", -1, "max_body_size -1: expected bytes, a whole number of 0 or more"),
        (
            "limit_request_line",
            0,
            "limit_request_line 0: expected bytes, a whole number of 1 or more "
            "(this limit can't be turned off)",
        ),
        ("factory", 1, "factory 1: expected true or false"),
        ("lifespan", "maybe", 'lifespan \'maybe\': expected one of "auto", "on", "off"'),
        ("http", "h2", 'http \'h2\': expected one of "auto", "httptools", "h11"'),
        ("bind", [], f"bind (): expected {_ADDRESSES}"),
        ("bind", [8000], f"bind (8000,): expected {_ADDRESSES}"),
        ("bind", None, f"bind None: expected {_ADDRESSES}"),
        ("bind", "http://x", "bind 'http://x': a TCP address has no scheme; expected host:port"),
        (
            "root_path",
            "api",
            "root_path 'api': expected a URL path that begins with \"/\", or an empty text",
        ),
        (
            "unix_socket_mode",
            660,
            "unix_socket_mode 660: expected the permission bits as octal text, 0000 to 0777, "
            "as in 0660",
        ),
        ("app", "", "app '': expected \"module:attr\" as text"),
        ("app_dir", "", "app_dir '': expected the path of a directory"),
        ("access_log_format", "", "access_log_format '': expected a text that is not empty"),
        (
            "dirty_app",
            [1],
            'dirty_app (1,): expected texts, each "module:Class" or "module:Class:N"',
        ),
        ("dirty_app", "a:A:x", "dirty_app 'a:A:x': the number of workers is 1 to 65535, not \"x\""),
        (
            "dirty_app",
            ["a:A", "a:A:2"],
            "dirty_app ('a:A', 'a:A:2'): a:A is there more than once",
        ),
        (
            "dirty_workers",
            2,
            "dirty_workers 2: there is no dirty_app for them to run; "
            'name one, as in dirty_app = ["module:Class"]',
        ),
        ("dirty_workers", -1, "dirty_workers -1: expected a whole number of 0 or more"),
        (
            "dirty_max_frame_size",
            65535,
            "dirty_max_frame_size 65535: expected bytes, a whole number, 65536 to 4294967295",
        ),
        (
            "dirty_socket",
            "/" + "x" * 120,
            f"dirty_socket '/{'x' * 120}': expected the path of a Unix socket, "
            'some 100 bytes at most, as in "/run/trioserve/dirty.sock"',
        ),
        (
            "on_dirty_starting",
            3,
            'on_dirty_starting 3: expected "module:attr" as text, or a callable in Python',
        ),
        ("dirty_worker_init", 3, f"dirty_worker_init 3: expected {_WORKER_HOOK}"),
        (
            "dirty_worker_init",
            _main_function,
            f"dirty_worker_init {_main_function!r}: expected {_WORKER_HOOK}",
        ),
    ],
)
def test_a_wrong_value_is_named_with_its_setting_and_what_was_expected(
    name: str, value: object, message: str
) -> None:
    with pytest.raises(ConfigError) as caught:
        Config(**{name: value})  # type: ignore[arg-type]
    assert str(caught.value) == message


def test_a_group_alone_validates_too() -> None:
    with pytest.raises(ConfigError, match=r"^header_timeout -1: expected"):
        Http1Options(header_timeout=-1)


@pytest.mark.parametrize("path", ["", "unix:/x", "fd://3", "@abstract", "/x\0", 3])
def test_a_dirty_socket_is_a_file(path: object) -> None:
    with pytest.raises(ConfigError, match=r"^dirty_socket .*: expected the path of a Unix socket"):
        Config(dirty_socket=path)  # type: ignore[arg-type]
    with pytest.raises(
        ConfigError, match=r'^control_socket .*: expected "auto", "off", or the path'
    ):
        Config(control_socket=path)  # type: ignore[arg-type]


def test_a_hook_may_be_any_callable_but_the_workers_must_be_importable() -> None:
    def inner() -> None: ...

    config = Config(on_dirty_starting=inner, dirty_post_fork=print, dirty_worker_exit="a:b")
    assert config.on_dirty_starting is inner
    assert config.dirty_post_fork is print
    for hook in (inner, lambda: None, Path("x").resolve, partial(print)):
        with pytest.raises(ConfigError, match=r"^dirty_worker_init <?.*: expected \"module:attr\""):
            Config(dirty_worker_init=hook)


@pytest.mark.parametrize(
    ("given", "count"),
    [
        ({}, 0),
        ({"dirty_app": "a:A"}, 1),
        ({"dirty_app": "a:A", "dirty_workers": 3}, 3),
        ({"dirty_app": "a:A", "dirty_workers": 0}, 0),
        ({"dirty_workers": 0}, 0),
    ],
)
def test_there_are_dirty_workers_where_there_are_apps(given: dict[str, Any], count: int) -> None:
    assert Config(**given).dirty_worker_count == count


def test_dirty_apps_are_parsed() -> None:
    apps = Config(dirty_app=["a:A", "b.c:D:2"]).dirty_apps
    assert [(app.path, app.workers) for app in apps] == [("a:A", None), ("b.c:D", 2)]


def test_httptools_is_refused_where_it_is_not_installed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("trioserve.config.kinds.find_spec", lambda _name: None)
    with pytest.raises(ConfigError, match=r'not installed here; install it .* "auto" or "h11"'):
        Config(http="httptools")
    assert Config(http="auto").http == "auto"


@pytest.mark.skipif(not importlib.util.find_spec("httptools"), reason="needs httptools")
def test_httptools_is_accepted_where_it_is_installed() -> None:
    assert Config(http="httptools").http == "httptools"


def test_with_changes_copies_and_validates() -> None:
    config = Config(backlog=5)
    changed = config.with_changes(keep_alive_timeout=1, bind="127.0.0.1:0")
    assert (changed.backlog, changed.keep_alive_timeout, changed.bind) == (5, 1, ("127.0.0.1:0",))
    assert config == Config(backlog=5)
    with pytest.raises(ConfigError, match="keep_alive_timeout 'x'"):
        config.with_changes(keep_alive_timeout="x")


def test_with_changes_names_the_nearest_setting() -> None:
    with pytest.raises(ConfigError) as caught:
        Config().with_changes(keepalive_timeout=1)
    assert (
        str(caught.value)
        == 'keepalive_timeout: no such setting; did you mean "keep_alive_timeout"?'
    )


def test_each_setting_has_one_line_of_help_a_unit_and_a_group() -> None:
    settings = all_settings()
    assert set(settings) == {field.name for field in attrs.fields(Config)}
    assert len(settings) == sum(len(attrs.fields(group)) for group in GROUPS)
    for setting in settings.values():
        assert setting.help
        assert "\n" not in setting.help
        assert setting.unit
        assert setting.group


@pytest.mark.parametrize("name", all_settings())
def test_each_default_passes_its_own_check(name: str) -> None:
    setting = all_settings()[name]
    assert setting.check(setting.default) == setting.default

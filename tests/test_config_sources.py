# SPDX-License-Identifier: MIT
"""TOML, environment, command line and Python: the same result, the same error, in every source."""

from __future__ import annotations

import importlib.util
import tomllib
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from trioserve.command_line import parse
from trioserve.config import Config
from trioserve.config.rendering import reference_as_markdown, to_toml
from trioserve.config.settings import all_settings
from trioserve.config.sources import Given, find_file, read_environment, read_file, resolve
from trioserve.errors import ConfigError

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from types import ModuleType

    Source = Callable[[Path, str, Any, str, Sequence[str]], Config]


def from_python(_tmp: Path, name: str, value: Any, _toml: str, _texts: Sequence[str]) -> Config:
    return Config(**{name: value})


def from_toml(tmp: Path, name: str, _value: Any, toml: str, _texts: Sequence[str]) -> Config:
    (tmp / "trioserve.toml").write_text(f"{name} = {toml}\n")
    return resolve(read_file(tmp / "trioserve.toml"))[0]


def from_pyproject(tmp: Path, name: str, _value: Any, toml: str, _texts: Sequence[str]) -> Config:
    (tmp / "pyproject.toml").write_text(f"[tool.trioserve]\n{name} = {toml}\n")
    return resolve(read_file(tmp / "pyproject.toml"))[0]


def from_environment(_tmp: Path, name: str, _v: Any, _toml: str, texts: Sequence[str]) -> Config:
    return resolve(read_environment({f"TRIOSERVE_{name.upper()}": ",".join(texts)}))[0]


def from_command_line(_tmp: Path, name: str, _v: Any, _toml: str, texts: Sequence[str]) -> Config:
    option = "--" + name.replace("_", "-")
    argv = list(texts) if name == "app" else [f"{option}={text}" for text in texts]
    asked = parse(argv)
    assert asked is not None
    return resolve(asked.settings)[0]


ALL_SOURCES = pytest.mark.parametrize(
    "source", [from_python, from_toml, from_pyproject, from_environment, from_command_line]
)


@ALL_SOURCES
@pytest.mark.parametrize(
    ("name", "value", "toml", "texts"),
    [
        ("app", "pkg.mod:make.app", '"pkg.mod:make.app"', ["pkg.mod:make.app"]),
        ("factory", True, "true", ["true"]),
        ("access_log", False, "false", ["no"]),
        ("app_dir", "src", '"src"', ["src"]),
        ("root_path", "/api/", '"/api/"', ["/api/"]),
        ("lifespan", "off", '"off"', ["off"]),
        (
            "bind",
            ["127.0.0.1:0", "unix:a b"],
            '["127.0.0.1:0", "unix:a b"]',
            ["127.0.0.1:0", "unix:a b"],
        ),
        ("bind", "[::1]:80", '"[::1]:80"', ["[::1]:80"]),
        ("backlog", 100, "100", ["100"]),
        ("unix_socket_mode", "0660", '"0660"', ["0660"]),
        ("keep_alive_timeout", 2, "2", ["2"]),
        ("keep_alive_timeout", 0.25, "0.25", ["0.25"]),
        ("keep_alive_timeout", 1e3, "1e3", ["1e3"]),
        ("max_body_size", 1 << 40, "0x100_0000_0000", [str(1 << 40)]),
        ("access_log_format", '%(h)s "%(r)s"', "'%(h)s \"%(r)s\"'", ['%(h)s "%(r)s"']),
        ("log_level", "debug", '"debug"', ["debug"]),
        ("log_format", "json", '"json"', ["json"]),
        ("dirty_app", "pkg.mod:App", '"pkg.mod:App"', ["pkg.mod:App"]),
        ("dirty_app", ["a:A:2", "a:B.C"], '["a:A:2", "a:B.C"]', ["a:A:2", "a:B.C"]),
        ("dirty_workers", 0, "0", ["0"]),
        ("dirty_threads", 4, "4", ["4"]),
        ("dirty_concurrency", 1, "1", ["1"]),
        ("dirty_queue_size", 10, "10", ["10"]),
        ("dirty_timeout", 0, "0", ["0"]),
        ("dirty_startup_timeout", 1.5, "1.5", ["1.5"]),
        ("dirty_graceful_timeout", 5, "5", ["5"]),
        ("dirty_heartbeat_timeout", 0, "0", ["0"]),
        ("dirty_max_frame_size", 1 << 20, "0x100000", ["1048576"]),
        ("dirty_socket", "/run/a b.sock", '"/run/a b.sock"', ["/run/a b.sock"]),
        ("dirty_stash_size", 1 << 40, str(1 << 40), [str(1 << 40)]),
        ("dirty_stash_table_size", 1, "1", ["1"]),
        ("on_dirty_starting", "hooks:a", '"hooks:a"', ["hooks:a"]),
        ("dirty_post_fork", "pkg.hooks:a.b", '"pkg.hooks:a.b"', ["pkg.hooks:a.b"]),
        ("dirty_worker_init", "hooks:c", '"hooks:c"', ["hooks:c"]),
        ("dirty_worker_exit", "hooks:d", '"hooks:d"', ["hooks:d"]),
    ],
)
def test_every_source_gives_the_same_config(
    source: Source, tmp_path: Path, name: str, value: Any, toml: str, texts: list[str]
) -> None:
    config = source(tmp_path, name, value, toml, texts)
    assert config == Config(**{name: value})
    assert config != Config()


@ALL_SOURCES
@pytest.mark.parametrize(
    ("name", "value", "toml", "texts"),
    [
        ("access_log", "maybe", '"maybe"', ["maybe"]),
        ("root_path", "api", '"api"', ["api"]),
        ("lifespan", "of", '"of"', ["of"]),
        ("http", "h3", '"h3"', ["h3"]),
        ("bind", "http://x", '"http://x"', ["http://x"]),
        ("bind", ["127.0.0.1:0", "::"], '["127.0.0.1:0", "::"]', ["127.0.0.1:0", "::"]),
        ("backlog", -1, "-1", ["-1"]),
        ("backlog", "many", '"many"', ["many"]),
        ("unix_socket_mode", "0999", '"0999"', ["0999"]),
        ("keep_alive_timeout", -1, "-1", ["-1"]),
        ("keep_alive_timeout", -0.5, "-0.5", ["-0.5"]),
        ("keep_alive_timeout", "5s", '"5s"', ["5s"]),
        ("keep_alive_timeout", float("nan"), "nan", ["nan"]),
        ("limit_request_line", 0, "0", ["0"]),
        ("max_body_size", "16M", '"16M"', ["16M"]),
        ("access_log_format", "", '""', [""]),
        ("log_level", "INFO", '"INFO"', ["INFO"]),
        ("dirty_app", "mod", '"mod"', ["mod"]),
        ("dirty_app", ["a:A", "a:A:2"], '["a:A", "a:A:2"]', ["a:A", "a:A:2"]),
        ("dirty_app", "a:A:0", '"a:A:0"', ["a:A:0"]),
        ("dirty_workers", 2, "2", ["2"]),  # without an app
        ("dirty_workers", "two", '"two"', ["two"]),
        ("dirty_threads", 0, "0", ["0"]),
        ("dirty_queue_size", 0, "0", ["0"]),
        ("dirty_timeout", "5m", '"5m"', ["5m"]),
        ("dirty_max_frame_size", 1 << 32, str(1 << 32), [str(1 << 32)]),
        ("dirty_socket", "unix:/x", '"unix:/x"', ["unix:/x"]),
        ("dirty_stash_size", 0, "0", ["0"]),
        ("on_dirty_starting", "hooks", '"hooks"', ["hooks"]),
        ("dirty_worker_init", "hooks.c", '"hooks.c"', ["hooks.c"]),
    ],
)
def test_every_source_gives_the_same_error(
    source: Source, tmp_path: Path, name: str, value: Any, toml: str, texts: list[str]
) -> None:
    with pytest.raises(ConfigError) as expected:
        Config(**{name: value})
    with pytest.raises(ConfigError) as caught:
        source(tmp_path, name, value, toml, texts)
    message, _, origin = str(caught.value).partition(" (from ")
    assert message == str(expected.value)
    assert bool(origin) == (source is not from_python)


@pytest.mark.parametrize(
    ("layers", "backlog", "origin"),
    [
        ([], 2048, None),
        ([{"backlog": Given(1, "file")}], 1, "file"),
        ([{"backlog": Given(1, "file")}, {"backlog": Given(2, "variable")}], 2, "variable"),
        (
            [{"backlog": Given(1, "file")}, {}, {"backlog": Given(3, "option")}],
            3,
            "option",
        ),
        # What an upper layer overrules is not looked at.
        ([{"backlog": Given("x", "file")}, {"backlog": Given(2, "variable")}], 2, "variable"),
    ],
)
def test_a_later_layer_wins(
    layers: list[dict[str, Given]], backlog: int, origin: str | None
) -> None:
    config, origins = resolve(*layers)
    assert config.backlog == backlog
    assert origins.get("backlog") == origin


def test_an_unknown_key_of_the_file_names_the_nearest(tmp_path: Path) -> None:
    path = tmp_path / "trioserve.toml"
    path.write_text("keepalive_timeout = 1\n")
    with pytest.raises(ConfigError) as caught:
        read_file(path)
    assert str(caught.value) == (
        f'keepalive_timeout: no such setting; did you mean "keep_alive_timeout"? (in {path})'
    )


def test_an_unknown_variable_names_the_nearest() -> None:
    with pytest.raises(ConfigError) as caught:
        read_environment({"TRIOSERVE_KEEPALIVE_TIMEOUT": "1"})
    assert str(caught.value) == (
        "TRIOSERVE_KEEPALIVE_TIMEOUT: no such setting; "
        'did you mean "TRIOSERVE_KEEP_ALIVE_TIMEOUT"? (in the environment)'
    )


def test_an_unknown_option_names_the_nearest() -> None:
    with pytest.raises(
        ConfigError, match=r"--keepalive-timeout\. Did you mean --keep-alive-timeout"
    ):
        parse(["--keepalive-timeout", "1"])


def test_reserved_and_foreign_variables_are_left_alone() -> None:
    environ = {"TRIOSERVE_CONFIG": "y", "PATH": "/bin"}
    assert read_environment(environ) == {}


def test_values_that_are_wrong_together_name_the_origin_of_the_one_to_change() -> None:
    app, workers = Given((), "trioserve.toml"), Given(2, "--dirty-workers")
    with pytest.raises(ConfigError, match=r"^dirty_workers 2: .* \(from --dirty-workers\)$"):
        resolve({"dirty_app": app}, {"dirty_workers": workers})


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"bind = [", "not valid TOML"),
        (b"\xff", "not valid TOML"),
        (None, "can't be read: No such file or directory"),
    ],
)
def test_a_file_that_is_no_toml_is_one_clear_error(
    tmp_path: Path, content: bytes | None, message: str
) -> None:
    path = tmp_path / "x.toml"
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(ConfigError, match=message):
        read_file(path)


@pytest.mark.parametrize("content", ["", "[tool]\n", "tool = 1\n", "[tool]\ntrioserve = 1\n"])
def test_a_pyproject_without_our_table_is_an_error_only_if_it_was_named(
    tmp_path: Path, content: str
) -> None:
    path = tmp_path / "pyproject.toml"
    path.write_text(content)
    if "trioserve" not in content:
        assert find_file(tmp_path) is None
    with pytest.raises(ConfigError, match=r"expected a table \[tool\.trioserve\]"):
        read_file(path)


def test_a_file_of_our_own_goes_before_pyproject(tmp_path: Path) -> None:
    assert find_file(tmp_path) is None
    (tmp_path / "pyproject.toml").write_text("[tool.trioserve]\nbacklog = 1\n")
    assert find_file(tmp_path) == tmp_path / "pyproject.toml"
    (tmp_path / "trioserve.toml").write_text("backlog = 2\n")
    assert find_file(tmp_path) == tmp_path / "trioserve.toml"


# TOML text can hold any Unicode scalar value; a surrogate is none.
_TEXT = st.text(st.characters(exclude_categories=["Cs"]), min_size=1)


@given(
    app=st.none() | _TEXT,
    app_dir=_TEXT,
    access_log_format=st.sampled_from(["%(h)s", '"%(r)s"\t%({x-y}i)s', "ü %(s)s"]),
    keep_alive_timeout=st.floats(min_value=0, allow_infinity=False),
    unix_socket_mode=st.integers(0, 0o777),
    max_body_size=st.integers(0, 2**63 - 1),
    server_header=st.booleans(),
    dirty_app=st.sampled_from([(), ("a:A",), ("a:A:2", "b.c:D.E")]),
    dirty_worker_init=st.none() | st.just("a.b:c"),
)
@settings(deadline=None, max_examples=50)
def test_a_printed_config_reads_back_as_itself(**values: Any) -> None:
    config = Config(**values, bind=["127.0.0.1:0", "unix:/a b"])
    read_back = Config(**tomllib.loads(to_toml(config, {})))
    assert read_back == config


def test_a_printed_config_says_where_each_value_came_from() -> None:
    lines = to_toml(Config(app="a:b", backlog=7), {"backlog": "--backlog"}).splitlines()
    found = {line.split(" ")[0]: line.partition("# ")[2] for line in lines if " = " in line}
    unset = [line.split(" ")[1] for line in lines if line.endswith(" is not set")]
    assert found["backlog"] == "--backlog"
    assert found["keep_alive_timeout"] == "default"
    assert list(found) == [name for name in all_settings() if name not in unset]
    assert set(unset) >= {"dirty_workers", "dirty_socket", "dirty_worker_init"}


def test_a_printed_config_shows_a_callable_but_not_as_toml() -> None:
    text = to_toml(Config(on_dirty_starting=print), {})
    assert "# on_dirty_starting is a callable of Python's: <built-in function print>" in text
    assert Config(**tomllib.loads(text)) == Config()


def test_the_reference_in_docs_is_up_to_date() -> None:
    generator = _generator()
    committed = generator.TARGET.read_text(encoding="utf-8")
    assert committed == reference_as_markdown(), "run python docs/generate_settings.py"


def test_the_generator_writes_the_reference(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    generator = _generator()
    monkeypatch.setattr(generator, "TARGET", tmp_path / "settings.md")
    generator.main()
    assert (tmp_path / "settings.md").read_text(encoding="utf-8") == reference_as_markdown()


def _generator() -> ModuleType:
    path = Path(__file__).parent.parent / "docs" / "generate_settings.py"
    spec = importlib.util.spec_from_file_location("generate_settings", path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module

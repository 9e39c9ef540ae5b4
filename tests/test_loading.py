# SPDX-License-Identifier: MIT
"""From ``module:attr`` to the application, or to one message that says what is wrong."""

from __future__ import annotations

import os
import sys
from typing import TYPE_CHECKING

import pytest

from trioserve.errors import AppImportError
from trioserve.loading import app_traceback, load_app, load_hook

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

_APP = "async def {}(scope, receive, send): ...\n"

_MODULES = {
    "good_app.py": _APP.format("app") + "holder = type('H', (), {'inner': app})\n",
    "second_app.py": _APP.format("application"),
    "both_app.py": _APP.format("app") + _APP.format("application"),
    "no_app.py": _APP.format("server"),
    "pkg_app/__init__.py": "",
    "pkg_app/web.py": _APP.format("app"),
    "bad_import_app.py": "def deep():\n    import no_such_module_anywhere\n\ndeep()\n",
    "bad_name_app.py": "from pkg_app import webb\n",
    "raises_app.py": "def deep():\n    return 1 / 0\n\ntry:\n    deep()\n"
    "except ZeroDivisionError as exc:\n    raise ValueError('two\\nlines') from exc\n",
    "syntax_app.py": "def app(:\n",
    "exits_app.py": "import sys\nsys.exit(0)\n",
    "lazy_app.py": "def __getattr__(name):\n    raise RuntimeError('no ' + name)\n",
    "factory_app.py": _APP.format("app")
    + "def make(): return app\n"
    + "def fail(): return [][0]\n"
    + "def none(): return None\n"
    + "def needs(port): return app\n"
    + "def breaks(): return app(1)\n"
    + "async def later(): return app\n"
    + "value = 3\n",
}


@pytest.fixture(autouse=True)
def app_dir(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A directory of applications, and an interpreter that forgets them after the test."""
    for name, text in _MODULES.items():
        path = tmp_path / name
        path.parent.mkdir(exist_ok=True)
        path.write_text(text)
    monkeypatch.setattr(sys, "path", list(sys.path))
    monkeypatch.setattr(sys, "dont_write_bytecode", True)
    before = set(sys.modules)
    yield tmp_path
    for name in set(sys.modules) - before:
        del sys.modules[name]


@pytest.mark.parametrize(
    ("spec", "name"),
    [
        ("good_app:app", "app"),
        ("good_app", "app"),
        ("good_app:holder.inner", "app"),
        ("second_app", "application"),
        ("both_app", "app"),
        ("pkg_app.web:app", "app"),
        ("pkg_app.web", "app"),
    ],
)
def test_an_application_is_found(app_dir: Path, spec: str, name: str) -> None:
    app = load_app(spec, app_dir=str(app_dir))
    assert app.__name__ == name


def test_a_factory_is_called(app_dir: Path) -> None:
    app = load_app("factory_app:make", factory=True, app_dir=str(app_dir))
    assert app.__name__ == "app"


def test_the_app_dir_goes_first_on_the_path_once_and_absolute(
    app_dir: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(app_dir.parent)
    for _ in range(2):
        load_app("good_app", app_dir=app_dir.name)
    assert sys.path[0] == str(app_dir)
    assert sys.path.count(str(app_dir)) == 1


@pytest.mark.parametrize(
    ("spec", "message"),
    [
        ("", '"": expected module:attr, as in "package.module:app"'),
        ("good_app:", '"good_app:": expected module:attr, as in "package.module:app"'),
        (":app", '":app": expected module:attr, as in "package.module:app"'),
        ("good app:app", '"good app:app": expected module:attr, as in "package.module:app"'),
        ("good_app:app()", '"good_app:app()": expected module:attr, as in "package.module:app"'),
        (
            "pkg_app/web.py",
            '"pkg_app/web.py": expected module:attr, got the path of a file; '
            'write "pkg_app.web:app" (and --app-dir DIR if it lies elsewhere)',
        ),
        (
            "missing_app:app",
            'there is no module "missing_app" in "DIR" or elsewhere on sys.path; '
            "check its name, give --app-dir DIR, or install it",
        ),
        (
            "missing_app.web:app",
            'there is no module "missing_app" in "DIR" or elsewhere on sys.path; '
            "check its name, give --app-dir DIR, or install it",
        ),
        (
            "pkg_app.missing:app",
            'there is no module "pkg_app.missing" in the package "pkg_app"; '
            "an attribute follows a colon, as in module:attr",
        ),
        (
            "good_app.app",
            '"good_app" is a module, not a package, so there is no "good_app.app" in it; '
            "an attribute follows a colon, as in module:attr",
        ),
        (
            "no_app",
            'module "no_app" has neither "app" nor "application"; '
            'name the attribute, as in "no_app:attr"',
        ),
        (
            "no_app:sever",
            'module "no_app" has no attribute "sever"; did you mean "server"?',
        ),
        (
            "good_app:holder.iner",
            '"good_app:holder" has no attribute "iner"; did you mean "inner"?',
        ),
        (
            "factory_app:value",
            '"factory_app:value": expected an ASGI application, it is an object of int, '
            "which can't be called",
        ),
        (
            "factory_app:make",
            '"factory_app:make": it is a callable that needs no arguments; '
            "if it makes the application, add --factory",
        ),
    ],
)
def test_a_wrong_spec_is_one_clear_message(app_dir: Path, spec: str, message: str) -> None:
    with pytest.raises(AppImportError) as caught:
        load_app(spec, app_dir=str(app_dir))
    assert str(caught.value) == message.replace('"DIR"', f'"{app_dir}"')
    assert app_traceback(caught.value) == ""


def test_a_missing_app_dir_is_named(app_dir: Path) -> None:
    missing = str(app_dir / "nowhere")
    with pytest.raises(AppImportError, match="there is no such directory"):
        load_app("good_app", app_dir=missing)
    assert missing not in sys.path


@pytest.mark.parametrize(
    ("spec", "message", "in_trace"),
    [
        (
            "bad_import_app",
            "ModuleNotFoundError: No module named 'no_such_module_anywhere'",
            ["bad_import_app.py", "in deep", "import no_such_module_anywhere"],
        ),
        ("bad_name_app", "ImportError: cannot import name 'webb'", ["bad_name_app.py"]),
        (
            "raises_app",
            "ValueError: two",
            ["ZeroDivisionError: division by zero", "The above exception was the direct cause"],
        ),
        ("syntax_app", "SyntaxError: invalid syntax", ["syntax_app.py", "def app(:"]),
        ("exits_app", "SystemExit: 0", ["sys.exit(0)"]),
        ("lazy_app:thing", "RuntimeError: no thing", ["lazy_app.py", "in __getattr__"]),
    ],
)
def test_a_fault_inside_the_application_shows_its_own_frames_only(
    app_dir: Path, spec: str, message: str, in_trace: list[str]
) -> None:
    with pytest.raises(AppImportError) as caught:
        load_app(spec, app_dir=str(app_dir))
    assert str(caught.value).startswith(f'importing "{spec}" failed inside the application: ')
    assert message in str(caught.value)
    assert "\n" not in str(caught.value)
    trace = app_traceback(caught.value)
    for words in in_trace:
        assert words in trace
    assert "trioserve" + os.sep not in trace
    assert "importlib" not in trace


@pytest.mark.parametrize(
    ("spec", "message"),
    [
        ("factory_app:fail", 'the factory "factory_app:fail" failed: IndexError: list index out'),
        ("factory_app:breaks", 'the factory "factory_app:breaks" failed: TypeError: app() missing'),
        ("factory_app:none", '"factory_app:none": expected an ASGI application, the factory retu'),
        (
            "factory_app:needs",
            '"factory_app:needs": --factory calls it without arguments, and that fails '
            "(needs() missing 1 required positional argument: 'port')",
        ),
        ("factory_app:app", "if it is the application itself, leave --factory out"),
        ("factory_app:later", '"factory_app:later": the factory is async; it must be a plain'),
        ("factory_app:value", '"factory_app:value": --factory expects a callable, got an object'),
    ],
)
def test_a_factory_that_gives_no_application_is_told_why(
    app_dir: Path, spec: str, message: str
) -> None:
    with pytest.raises(AppImportError) as caught:
        load_app(spec, factory=True, app_dir=str(app_dir))
    assert message in str(caught.value)


def test_the_traceback_of_a_failed_factory_begins_in_the_factory(app_dir: Path) -> None:
    with pytest.raises(AppImportError) as caught:
        load_app("factory_app:fail", factory=True, app_dir=str(app_dir))
    first_frame = app_traceback(caught.value).splitlines()[1]
    assert "factory_app.py" in first_frame


def test_ctrl_c_during_the_import_is_not_turned_into_an_error(app_dir: Path) -> None:
    (app_dir / "interrupted_app.py").write_text("raise KeyboardInterrupt\n")
    with pytest.raises(KeyboardInterrupt):
        load_app("interrupted_app", app_dir=str(app_dir))


def test_a_hook_is_a_callable_or_imported_from_where_it_says(app_dir: Path) -> None:
    def hook() -> None: ...

    assert load_hook("on_dirty_starting", hook, app_dir="/nowhere") is hook
    found = load_hook("on_dirty_starting", "factory_app:make", app_dir=str(app_dir))
    assert found is sys.modules["factory_app"].make


@pytest.mark.parametrize(
    ("spec", "message"),
    [
        ("no_such_app:hook", 'there is no module "no_such_app" in '),
        ("factory_app:mak", 'module "factory_app" has no attribute "mak"; did you mean "make"?'),
        ("bad_import_app:hook", 'importing "bad_import_app" failed inside the application: Mod'),
        ("factory_app:value", '"factory_app:value": expected a callable, got an object of int'),
    ],
)
def test_a_hook_that_cant_be_had_is_named_with_its_setting(
    app_dir: Path, spec: str, message: str
) -> None:
    with pytest.raises(AppImportError) as caught:
        load_hook("dirty_worker_exit", spec, app_dir=str(app_dir))
    assert str(caught.value).startswith("dirty_worker_exit")
    assert message in str(caught.value)
    assert bool(app_traceback(caught.value)) == (spec == "bad_import_app:hook")

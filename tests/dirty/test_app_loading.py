# SPDX-License-Identifier: MIT
"""From ``module:Class`` to the class in a worker, or to one error that says what is wrong."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING

import pytest

from trioserve.dirty.app import DirtyApp, load_app_class, load_hook
from trioserve.dirty.errors import DirtyAppError, DirtyAppNotFoundError, DirtyError

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

_MODULES = {
    "dirty_good.py": "from trioserve.dirty.app import DirtyApp\n"
    "class App(DirtyApp): ...\n"
    "class Outer:\n    class Inner(DirtyApp): ...\n"
    "class Duck:\n    def init(self): ...\n    def close(self): ...\n"
    "    def __call__(self, action): ...\n"
    "class NoCall:\n    def init(self): ...\n    def close(self): ...\n"
    "class Empty: ...\n"
    "app = App()\n"
    "def hook(worker): return worker\n",
    "dirty_pkg/__init__.py": "",
    "dirty_pkg/mod.py": "from dirty_good import App\n",
    "dirty_bad_import.py": "def deep():\n    import no_such_module\n\ndeep()\n",
    "dirty_bad_sibling.py": "import dirty_pkg.missing\n",
    "dirty_bad_name.py": "from dirty_good import Nothing\n",
    "dirty_raises.py": "raise ValueError('first\\nsecond')\n",
    "dirty_silent.py": "raise ValueError\n",
    "dirty_syntax.py": "def f(:\n",
    "dirty_exits.py": "import sys\nsys.exit(3)\n",
    "dirty_lazy.py": "def __getattr__(name):\n    raise RuntimeError('no ' + name)\n",
}


@pytest.fixture(autouse=True)
def modules(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """Apps on sys.path, and an interpreter that forgets them after the test."""
    for name, text in _MODULES.items():
        path = tmp_path / name
        path.parent.mkdir(exist_ok=True)
        path.write_text(text)
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.setattr(sys, "dont_write_bytecode", True)
    before = set(sys.modules)
    yield tmp_path
    for name in set(sys.modules) - before:
        if name.startswith("dirty_"):
            del sys.modules[name]


@pytest.mark.parametrize(
    ("path", "name"),
    [
        ("dirty_good:App", "App"),
        ("dirty_pkg.mod:App", "App"),
        ("dirty_good:Outer.Inner", "Outer.Inner"),
        ("dirty_good:Duck", "Duck"),
    ],
)
def test_a_class_is_found(path: str, name: str) -> None:
    cls = load_app_class(path)
    assert cls.__qualname__ == name
    assert issubclass(cls, DirtyApp) == (name != "Duck")


@pytest.mark.parametrize(
    ("path", "message"),
    [
        ("no_such:App", 'no_such:App: there is no module "no_such" on sys.path; check its name'),
        ("dirty_pkg.no:App", 'dirty_pkg.no:App: there is no module "dirty_pkg.no" on sys.path'),
        ("dirty_good.x:App", 'dirty_good.x:App: there is no module "dirty_good.x" on sys.path'),
        (
            "dirty_good:Ap",
            'dirty_good:Ap: module "dirty_good" has no attribute "Ap"; did you mean "App"?',
        ),
        (
            "dirty_good:Outer.Iner",
            'dirty_good:Outer.Iner: "Outer" has no attribute "Iner"; did you mean "Inner"?',
        ),
    ],
)
def test_a_class_that_is_not_there_is_not_found(path: str, message: str) -> None:
    with pytest.raises(DirtyAppNotFoundError) as caught:
        load_app_class(path)
    assert str(caught.value).startswith(message)
    assert caught.value.app_path == path
    assert caught.value.__cause__ is not None


@pytest.mark.parametrize(
    ("module", "message", "exception_type", "shown"),
    [
        (
            "dirty_bad_import",
            "ModuleNotFoundError: No module named 'no_such_module'",
            "ModuleNotFoundError",
            "dirty_bad_import.py",
        ),
        (
            "dirty_bad_sibling",
            "ModuleNotFoundError: No module named 'dirty_pkg.missing'",
            "ModuleNotFoundError",
            "dirty_bad_sibling.py",
        ),
        (
            "dirty_bad_name",
            "ImportError: cannot import name 'Nothing' from 'dirty_good'",
            "ImportError",
            "dirty_bad_name.py",
        ),
        ("dirty_raises", "ValueError: first", "ValueError", "dirty_raises.py"),
        ("dirty_silent", "ValueError", "ValueError", "dirty_silent.py"),
        ("dirty_syntax", "SyntaxError: invalid syntax", "SyntaxError", "def f(:"),
        ("dirty_exits", "SystemExit: 3", "SystemExit", "dirty_exits.py"),
        ("dirty_lazy", "RuntimeError: no App", "RuntimeError", "dirty_lazy.py"),
    ],
)
def test_an_error_inside_the_apps_module_is_shown_with_its_traceback(
    module: str, message: str, exception_type: str, shown: str
) -> None:
    with pytest.raises(DirtyAppError) as caught:
        load_app_class(f"{module}:App")
    error = caught.value
    assert type(error) is DirtyAppError
    assert str(error).startswith(f"{module}:App: its import failed: {message}")
    assert "\n" not in str(error)
    assert error.exception_type == exception_type
    assert shown in error.traceback
    assert "app_loading.py" not in error.traceback
    assert error.__cause__ is not None
    over_the_wire = DirtyError.from_dict(error.to_dict())
    assert shown in over_the_wire.__notes__[0]


@pytest.mark.parametrize(
    ("path", "message"),
    [
        ("dirty_good:app", "dirty_good:app: expected a class, got an object of App"),
        ("dirty_good:hook", "dirty_good:hook: expected a class, got an object of function"),
        (
            "dirty_good:NoCall",
            "dirty_good:NoCall is no dirty app: it has no __call__; "
            "derive it from trioserve.dirty.DirtyApp",
        ),
        (
            "dirty_good:Empty",
            "dirty_good:Empty is no dirty app: it has no init and no __call__ and no close; "
            "derive it from trioserve.dirty.DirtyApp",
        ),
        ("dirty_good", "'dirty_good': expected \"module:Class\""),
        ("dirty_good:App:2", "'dirty_good:App:2': expected \"module:Class\""),
    ],
)
def test_what_is_no_dirty_app_is_refused(path: str, message: str) -> None:
    with pytest.raises(DirtyAppError) as caught:
        load_app_class(path)
    assert type(caught.value) is DirtyAppError
    assert str(caught.value) == message


def test_ctrl_c_during_an_import_is_not_turned_into_an_error(modules: Path) -> None:
    (modules / "dirty_interrupted.py").write_text("raise KeyboardInterrupt\n")
    with pytest.raises(KeyboardInterrupt):
        load_app_class("dirty_interrupted:App")


def test_a_hook_is_any_callable() -> None:
    assert load_hook("dirty_good:hook")(3) == 3
    with pytest.raises(DirtyAppError, match="expected a callable, got an object of str"):
        load_hook("dirty_good:__name__")
    with pytest.raises(DirtyAppNotFoundError):
        load_hook("dirty_good:hok")

# SPDX-License-Identifier: MIT
"""DirtyApp: what can be called of it, what its class says, and whether a call was given up."""

from __future__ import annotations

import abc
import contextvars
import functools
import inspect
import subprocess
import sys
from collections.abc import AsyncIterator, Callable, Iterator
from typing import Any, TypeVar

import pytest
import trio

from tests.server_process import REPOSITORY
from trioserve.dirty.app import (
    CallState,
    DirtyApp,
    cancelled,
    current_call,
    describe,
    kind_of,
    path_of,
    resolve,
)
from trioserve.dirty.errors import DirtyAppError

_F = TypeVar("_F", bound=Callable[..., Any])


def logged(function: _F) -> _F:
    """A plain wrapper, as decorators are written."""

    @functools.wraps(function)
    def wrapper(*args: Any, **kwargs: Any) -> Any:
        return function(*args, **kwargs)

    return wrapper  # type: ignore[return-value]


class Base(DirtyApp):
    def inherited(self) -> str:
        return "inherited"

    def hidden(self) -> str:
        return "hidden"


class Everything(Base):
    limit = 10
    Item = dict[str, int]
    hidden = None  # type: ignore[assignment]  # a subclass may take an action away

    class Nested:
        pass

    def init(self) -> None:
        self.late = lambda: "late"

    def plain(self, x: int, *, y: int = 0) -> int:
        return x + y

    async def later(self) -> str:
        await trio.lowlevel.checkpoint()
        return "later"

    def rows(self) -> Iterator[int]:
        yield 1

    async def later_rows(self) -> AsyncIterator[int]:
        yield 1

    @staticmethod
    def static(x: int) -> int:
        return x

    @classmethod
    async def of_class(cls) -> str:
        return cls.__name__

    @logged
    async def wrapped(self) -> str:
        return "wrapped"

    @logged
    @logged
    def wrapped_rows(self) -> Iterator[int]:
        yield 2

    partial = functools.partialmethod(plain, 40, y=2)

    @functools.lru_cache  # noqa: B019
    def cached(self) -> str:
        return "cached"

    @functools.singledispatchmethod
    def by_type(self, x: object) -> str:
        return "object"

    @by_type.register
    def _(self, x: int) -> str:
        return "int"

    @property
    def computed(self) -> Any:
        raise AssertionError("a property is not read")

    def _private(self) -> None: ...


KINDS = {
    "inherited": "sync",
    "plain": "sync",
    "later": "async",
    "rows": "generator",
    "later_rows": "async_generator",
    "static": "sync",
    "of_class": "async",
    "wrapped": "async",
    "wrapped_rows": "generator",
    "partial": "sync",
    "cached": "sync",
    "by_type": "sync",
}


# -- actions --------------------------------------------------------------------------------


def test_every_method_is_an_action_of_its_kind() -> None:
    assert describe(Everything)["actions"] == KINDS


@pytest.mark.parametrize("action", KINDS)
def test_every_action_that_is_described_can_be_resolved(action: str) -> None:
    function = resolve(Everything(), action)
    assert kind_of(function) == KINDS[action]


async def test_a_resolved_action_is_bound_to_its_app() -> None:
    app = Everything()
    assert resolve(app, "plain")(1, y=2) == 3
    assert resolve(app, "partial")() == 42
    assert resolve(app, "static")(5) == 5
    assert resolve(app, "by_type")(5) == "int"
    assert resolve(app, "cached")() == "cached"
    assert await resolve(app, "wrapped")() == "wrapped"
    assert await resolve(app, "of_class")() == "Everything"
    assert list(resolve(app, "wrapped_rows")()) == [2]


def test_an_app_that_is_called_dispatches_to_its_actions() -> None:
    app = Everything()
    assert app("plain", 1, y=2) == 3
    with pytest.raises(DirtyAppError, match="has no action 'init'"):
        app("init")


@pytest.mark.parametrize(
    "action",
    [
        *("init", "close", "workers", "stashes", "timeout"),
        *("__call__", "__init__", "__class__", "_private", "_", "", "mro"),
        *("limit", "Item", "Nested", "computed", "hidden", "late", "nothing"),
        *("plain ", "plain.x", 3, None, ["plain"], {"a": 1}, b"plain"),
    ],
)
def test_nothing_else_can_be_called(action: object) -> None:
    app = Everything()
    app.init()
    with pytest.raises(DirtyAppError) as caught:
        resolve(app, action)
    assert caught.value.app_path == "tests.dirty.test_app:Everything"
    assert caught.value.action == str(action)


def test_an_unknown_action_is_told_what_there_is() -> None:
    class Small(DirtyApp):
        def predict(self) -> None: ...
        def train(self) -> None: ...

    with pytest.raises(DirtyAppError) as caught:
        resolve(Small(), "predcit")
    assert str(caught.value) == (
        f"{path_of(Small)} has no action 'predcit': its actions are: predict, train; "
        'did you mean "predict"?'
    )
    with pytest.raises(DirtyAppError) as caught:
        resolve(Small(), "init")
    assert str(caught.value) == (
        f"{path_of(Small)} has no action 'init': "
        "DirtyApp's own names and what begins with _ can't be called"
    )


def test_an_error_names_the_app_as_its_caller_does() -> None:
    with pytest.raises(DirtyAppError, match=r"^shop:Cart has no action 'x': ") as caught:
        resolve(Everything(), "x", "shop:Cart")
    assert caught.value.app_path == "shop:Cart"
    wrong = type("Wrong", (DirtyApp,), {"workers": 0})
    with pytest.raises(DirtyAppError, match=r"^shop:Cart: workers is 0; "):
        describe(wrong, "shop:Cart")


def test_an_app_without_actions_says_so() -> None:
    many = type("Many", (DirtyApp,), {f"act{n:03}": lambda self: None for n in range(100)})
    with pytest.raises(DirtyAppError, match=r"act018, act019 … and 80 more") as caught:
        resolve(many(), "x")
    assert len(str(caught.value)) < 500
    with pytest.raises(DirtyAppError, match=r"its actions are: none$"):
        resolve(DirtyApp(), "x")


def test_a_very_long_name_makes_no_very_long_error() -> None:
    with pytest.raises(DirtyAppError) as caught:
        resolve(Everything(), "x" * 100_000)
    assert len(str(caught.value)) < 1000
    assert len(caught.value.action) == 200


# -- apps that dispatch by themselves -------------------------------------------------------


class Overriding(DirtyApp):
    def __call__(self, action: str, *args: Any, **kwargs: Any) -> Any:
        if action == "timeout":  # a name of DirtyApp's own, but that is its own affair
            return "mine"
        return super().__call__(action, *args, **kwargs)

    def plain(self, x: int) -> int:
        return x


class Foreign:
    """As gunicorn accepts it: no DirtyApp at all."""

    def init(self) -> None: ...
    def close(self) -> None: ...

    def __call__(self, action: str, *args: Any) -> Any:
        return action, args


def test_an_app_that_overrides_call_gets_every_public_name() -> None:
    assert describe(Overriding)["actions"] is None
    assert resolve(Overriding(), "timeout")() == "mine"
    assert resolve(Overriding(), "plain")(3) == 3
    assert resolve(Foreign(), "anything")(1, 2) == ("anything", (1, 2))


@pytest.mark.parametrize("app", [Overriding(), Foreign()])
@pytest.mark.parametrize("action", ["init", "close", "_private", "__init__", 3, ["x"]])
def test_but_never_a_private_name_or_its_own_life(app: object, action: object) -> None:
    with pytest.raises(DirtyAppError, match="init, close and what begins with _ can't be called"):
        resolve(app, action)


def test_a_class_of_another_kind_says_as_much_as_it_has() -> None:
    nothing = dict.fromkeys(["workers", "threads", "timeout", "max_requests", "max_rss"])
    assert describe(Foreign) == {**nothing, "stashes": [], "actions": None}


def test_an_abstract_base_and_a_mixin_are_fine() -> None:
    class Mixin:
        def mixed(self) -> int:
            return 1

    class App(DirtyApp, Mixin, abc.ABC):
        @abc.abstractmethod
        def run(self) -> None: ...

    assert describe(App)["actions"] == {"mixed": "sync", "run": "sync"}


# -- what a class says ----------------------------------------------------------------------


def test_a_class_says_its_limits_and_tables() -> None:
    class Limited(DirtyApp):
        workers = 2
        threads = 4
        timeout = 1.5
        max_requests = 1000
        max_rss = 1 << 30
        stashes = ("sessions", "locks")

    assert describe(Limited) == {
        "workers": 2,
        "threads": 4,
        "timeout": 1.5,
        "max_requests": 1000,
        "max_rss": 1 << 30,
        "stashes": ["sessions", "locks"],
        "actions": {},
    }
    assert describe(DirtyApp)["timeout"] is None


@pytest.mark.parametrize(
    ("name", "value", "expected"),
    [
        ("workers", 0, "0; expected None or a whole number of 1 or more"),
        ("workers", "2", "'2'; expected None or a whole number of 1 or more"),
        ("workers", True, "True; expected None or a whole number of 1 or more"),
        ("workers", property(lambda _self: 2), "<property object"),
        ("threads", 1.5, "1.5; expected None or a whole number of 1 or more"),
        ("timeout", -1, "-1; expected None or seconds, a number of 0 or more (0 = any time)"),
        ("timeout", float("nan"), "nan; expected None or seconds"),
        ("timeout", float("inf"), "inf; expected None or seconds"),
        ("timeout", False, "False; expected None or seconds"),
        ("timeout", "1", "'1'; expected None or seconds"),
        ("max_requests", -5, "-5; expected None or a whole number of 1 or more"),
        ("max_rss", 2**63, f"{2**63}; expected None or bytes, a whole number of 1 or more"),
        ("stashes", "sessions", "'sessions'; expected a list of names of tables"),
        ("stashes", [1], "[1]; expected a list of names of tables"),
        ("stashes", [""], "['']; expected a list of names of tables"),
        ("stashes", None, "None; expected a list of names of tables"),
    ],
)
def test_a_wrong_attribute_is_named_with_what_was_expected(
    name: str, value: object, expected: str
) -> None:
    cls = type("Wrong", (DirtyApp,), {name: value})
    with pytest.raises(DirtyAppError) as caught:
        describe(cls)
    assert str(caught.value).startswith(f"tests.dirty.test_app:Wrong: {name} is {expected}")


def _generator(self: object) -> Iterator[int]:
    yield 1


async def _coroutine(self: object, action: str) -> None: ...


@pytest.mark.parametrize(
    ("name", "value", "expected"),
    [
        ("init", _generator, "def or async def, without yield"),
        ("close", _generator, "def or async def, without yield"),
        ("__call__", _coroutine, "a plain def, which returns the result"),
        ("__call__", _generator, "a plain def, which returns the result"),
    ],
)
def test_a_lifecycle_method_of_a_kind_that_cant_be_run_is_refused(
    name: str, value: object, expected: str
) -> None:
    with pytest.raises(DirtyAppError, match=rf"Wrong: {name} is .*; expected {expected}$"):
        describe(type("Wrong", (DirtyApp,), {name: value}))


def test_init_and_close_may_be_async() -> None:
    class App(DirtyApp):
        async def init(self) -> None: ...
        async def close(self) -> None: ...

    assert describe(App)["actions"] == {}
    assert kind_of(App().init) == "async"


def test_a_wrapper_that_wraps_itself_is_no_endless_loop() -> None:
    def function() -> None: ...

    function.__wrapped__ = function  # type: ignore[attr-defined]
    assert kind_of(function) == "sync"
    assert kind_of(3) == "sync"
    assert inspect.isfunction(function)


# -- the call under way ---------------------------------------------------------------------


def test_outside_of_a_call_nothing_is_cancelled() -> None:
    assert not cancelled()


async def test_a_call_sees_its_own_cancellation_in_its_thread_and_no_other() -> None:
    call, other = CallState(1), CallState(2)
    seen: list[bool] = []

    def look(state: CallState, context: contextvars.Context) -> None:
        context.run(current_call.set, state)
        seen.append(context.run(cancelled))
        state.cancelled = True
        seen.append(context.run(cancelled))

    look(call, contextvars.copy_context())
    look(other, contextvars.copy_context())
    assert seen == [False, True, False, True]
    token = current_call.set(call)
    try:
        assert cancelled()
        assert await trio.to_thread.run_sync(cancelled)
    finally:
        current_call.reset(token)
    assert not cancelled()
    assert call.request_id == 1


# -- what it costs --------------------------------------------------------------------------


def test_it_imports_no_trio_and_nothing_of_the_http_wing() -> None:
    code = "import sys, trioserve.dirty.app; print(*sys.modules)"
    done = subprocess.run(
        [sys.executable, "-c", code],
        cwd=REPOSITORY,
        capture_output=True,
        text=True,
        timeout=30,
        check=True,
    )
    loaded = set(done.stdout.split())
    ours = {name for name in loaded if name.startswith("trioserve.")}
    allowed = {"dirty", "dirty.app", "dirty.app_loading", "dirty.descriptions", "dirty.errors"}
    allowed |= {"errors", "import_strings", "suggestions"}
    assert ours <= {f"trioserve.{name}" for name in allowed}
    assert not {"trio", "attr", "asyncio", "socket"} & loaded

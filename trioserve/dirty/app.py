# SPDX-License-Identifier: MIT
"""What runs in a dirty worker: the class, its actions, and how the two are found.

An action is a method that callers name. Nothing else can be called from outside:

==============================================  ======================================
a name that begins with ``_``                   private
``init``, ``close``, ``workers`` …              DirtyApp's own
a property, a constant, a nested class          no method; a property isn't even read
what ``init()`` puts on the instance            state, not interface
a method, a static, class or partial method     an action, inherited ones too
==============================================  ======================================

Names are gunicorn's, so that an app moves by changing an import. A class that isn't a DirtyApp but
has ``init``, ``__call__`` and ``close`` will do as well, as it does there; so does one that
overrides ``__call__``, and then dispatches by itself.

Pure, and light to import: no Trio, nothing of the HTTP wing.
"""

from __future__ import annotations

import functools
import inspect
import math
from contextvars import ContextVar
from typing import TYPE_CHECKING, Any, ClassVar, Final, Literal, NoReturn, TypeAlias

from trioserve.dirty.app_loading import load_app_class, load_hook, look_up
from trioserve.dirty.descriptions import shown
from trioserve.dirty.errors import DirtyAppError
from trioserve.suggestions import did_you_mean

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

__all__ = [
    "ActionKind",
    "CallState",
    "DirtyApp",
    "cancelled",
    "current_call",
    "describe",
    "kind_of",
    "load_app_class",
    "load_hook",
    "path_of",
    "resolve",
]

ActionKind: TypeAlias = Literal["sync", "async", "generator", "async_generator"]


class DirtyApp:
    """Base of the classes that dirty workers run. One instance a worker, made when it starts.

    ::

        class Model(DirtyApp):
            workers = 2                  # it is large: in two workers only

            def init(self):
                self.model = load()      # once; it stays in memory

            def predict(self, text):     # an action: client.execute("app:Model", "predict", text)
                return self.model(text)

            async def fetch(self, url):  # on the worker's Trio loop; cancelled with its caller
                ...

            def rows(self, count):       # a stream: client.stream("app:Model", "rows", 10)
                yield from range(count)

    ``def`` actions run in threads, ``dirty_threads`` at a time: with more than one, what they share
    is theirs to lock. ``async def`` actions run on the worker's Trio loop, ``dirty_concurrency`` at
    a time.

    Attributes:
        workers: How many workers load this class; None: all. ``module:Class:N`` goes before it.
        threads: Its ``def`` actions that run at a time in a worker; None: ``dirty_threads``.
        timeout: Seconds that a call of it may take; 0: any time; None: ``dirty_timeout``.
        max_requests: Calls of it after which its worker is replaced by a new one; None: never.
        max_rss: Bytes of memory at which its worker is; None: never.
        stashes: Tables of the stash that are made when the pool starts.
    """

    workers: ClassVar[int | None] = None
    threads: ClassVar[int | None] = None
    timeout: ClassVar[float | None] = None
    max_requests: ClassVar[int | None] = None
    max_rss: ClassVar[int | None] = None
    stashes: ClassVar[Sequence[str]] = ()

    def init(self) -> Any:
        """Makes it ready for calls; ``def`` or ``async def``. Its failure is the worker's."""

    def close(self) -> Any:
        """Gives back what it holds, when the worker stops in an orderly way; as ``init``."""

    def __call__(self, action: str, *args: Any, **kwargs: Any) -> Any:
        """Calls an action: what it returns is that function's result, coroutine or generator.

        A class may override it to dispatch by itself, as a plain ``def``.

        Raises:
            DirtyAppError: there is no such action; says which there are.
        """
        return _bound(self, action, path_of(type(self)))(*args, **kwargs)


#: Attributes that are no actions in any class, whether it is a DirtyApp or not.
_RESERVED: Final = frozenset(name for name in dir(DirtyApp) if not name.startswith("_"))

#: What can't be called either where a class dispatches by itself, and may have actions of any name.
_LIFECYCLE: Final = frozenset({"init", "close"})


# -- actions --------------------------------------------------------------------------------


def resolve(app: Any, action: object, app_path: str | None = None) -> Callable[..., Any]:
    """Return what runs an action of an app: a bound method, or ``app(action, …)``.

    Args:
        app: An instance of a class that ``load_app_class`` returned.
        action: The name that came from the caller, unchecked.
        app_path: What the app is called in errors; None: where its class was defined.

    Raises:
        DirtyAppError: There is no such action, or its name is refused. Says which there are, and
            names the nearest.
    """
    path = app_path or path_of(type(app))
    if not _dispatches_by_itself(type(app)):
        return _bound(app, action, path)
    if _is_private(action) or action in _LIFECYCLE:
        _refuse(path, action, "init, close and what begins with _ can't be called")
    return functools.partial(app, action)


def _bound(app: object, action: object, path: str) -> Callable[..., Any]:
    cls = type(app)
    if _is_private(action) or action in _RESERVED:
        _refuse(path, action, "DirtyApp's own names and what begins with _ can't be called")
    name = str(action)
    if _is_method(look_up(cls, name)):
        bound: Callable[..., Any] = getattr(app, name)
        return bound
    known = dict(_actions(cls))
    listed = ", ".join(sorted(known)[:_MAX_LISTED]) or "none"
    if len(known) > _MAX_LISTED:
        listed += f" … and {len(known) - _MAX_LISTED} more"
    _refuse(path, action, f"its actions are: {listed}{did_you_mean(name, known)}")


#: Actions that an error names.
_MAX_LISTED: Final = 20


def _is_private(action: object) -> bool:
    return not isinstance(action, str) or action.startswith("_")


def _refuse(path: str, action: object, reason: str) -> NoReturn:
    raise DirtyAppError(
        f"{path} has no action {action!r:.200}: {reason}", app_path=path, action=str(action)[:200]
    )


def _actions(cls: type) -> Iterator[tuple[str, Any]]:
    """Names of actions, and what the class holds under them, base classes first."""
    names = dict.fromkeys(name for base in reversed(cls.__mro__) for name in vars(base))
    for name in names:
        if name.startswith("_") or name in _RESERVED:
            continue
        attribute = look_up(cls, name)
        if _is_method(attribute):
            yield name, attribute


#: Attributes that become methods, though they aren't callable themselves.
_METHOD_MAKERS: Final = (
    staticmethod,
    classmethod,
    functools.partialmethod,
    functools.singledispatchmethod,
)


def _is_method(attribute: object) -> bool:
    """Whether it acts as a method: a function, or what a decorator or a compiler has made of it."""
    if isinstance(attribute, _METHOD_MAKERS):
        return True
    return callable(attribute) and not isinstance(attribute, type) and hasattr(attribute, "__get__")


_PARTIALS: Final = (functools.partial, functools.partialmethod, functools.singledispatchmethod)


def kind_of(function: object) -> ActionKind:
    """How a function's result comes. Decorators that use ``functools.wraps`` are looked through.

    A plain wrapper of an ``async def`` function is thus ``async``: a call of it makes a coroutine.
    """
    for _ in range(100):  # a chain of wrappers that bites its tail
        if inspect.iscoroutinefunction(function):
            return "async"
        if inspect.isasyncgenfunction(function):
            return "async_generator"
        if inspect.isgeneratorfunction(function):
            return "generator"
        inner = _wrapped(function)
        if inner is None:
            break
        function = inner
    return "sync"


def _wrapped(function: object) -> object:
    if isinstance(function, (staticmethod, classmethod)):
        return function.__func__
    if isinstance(function, _PARTIALS):
        return function.func
    return getattr(function, "__wrapped__", None)


def _dispatches_by_itself(cls: type) -> bool:
    return look_up(cls, "__call__") is not DirtyApp.__call__


# -- what a class says ----------------------------------------------------------------------


def path_of(cls: type) -> str:
    """``module:Class``, by which a class is found if nobody says another way."""
    return f"{cls.__module__}:{cls.__qualname__}"


def describe(cls: type, app_path: str | None = None) -> dict[str, Any]:
    """Return an app's entry in a worker's HELLO (README.md): its limits, tables and actions.

    Args:
        cls: What ``load_app_class`` returned.
        app_path: As for ``resolve``.

    Raises:
        DirtyAppError: A class attribute has a wrong value, or ``init``, ``close`` or ``__call__``
            is of a kind that can't be run. Names it, and what was expected.
    """
    path = app_path or path_of(cls)
    entry: dict[str, Any] = {}
    for name, (accepts, expected) in _LIMITS.items():
        value = look_up(cls, name)
        if value is not None and not accepts(value):
            _wrong(path, name, value, expected)
        entry[name] = value
    for name in ("init", "close"):
        if kind_of(look_up(cls, name)) not in ("sync", "async"):
            _wrong(path, name, "a generator function", "def or async def, without yield")
    entry["stashes"] = _stashes(cls, path)
    entry["actions"] = _action_kinds(cls, path)
    return entry


def _action_kinds(cls: type, path: str) -> dict[str, ActionKind] | None:
    if not _dispatches_by_itself(cls):
        return {name: kind_of(attribute) for name, attribute in _actions(cls)}
    if kind_of(look_up(cls, "__call__")) != "sync":
        _wrong(path, "__call__", "async def or with yield", "a plain def, which returns the result")
    return None


def _stashes(cls: type, path: str) -> list[str]:
    value = look_up(cls, "stashes", ())
    if not isinstance(value, (list, tuple)) or not all(isinstance(x, str) and x for x in value):
        _wrong(path, "stashes", value, "a list of names of tables")
    return list(value)


def _is_count(value: object) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and 1 <= value < 2**63


def _is_seconds(value: object) -> bool:
    if isinstance(value, bool) or not isinstance(value, (int, float)):
        return False
    return 0 <= value < math.inf


_LIMITS: Final[dict[str, tuple[Callable[[object], bool], str]]] = {
    "workers": (_is_count, "None or a whole number of 1 or more"),
    "threads": (_is_count, "None or a whole number of 1 or more"),
    "timeout": (_is_seconds, "None or seconds, a number of 0 or more (0 = any time)"),
    "max_requests": (_is_count, "None or a whole number of 1 or more"),
    "max_rss": (_is_count, "None or bytes, a whole number of 1 or more"),
}


def _wrong(path: str, name: str, value: object, expected: str) -> NoReturn:
    raise DirtyAppError(f"{path}: {name} is {shown(value)}; expected {expected}", app_path=path)


# -- the call under way ---------------------------------------------------------------------


class CallState:
    """One call, as the worker and the action that runs it see it; from any thread.

    Attributes:
        request_id: The id of its REQUEST; 0 where there is none.
        worker: The number by which the arbiter knows the worker that runs it.
        cancelled: Set by the worker once the caller has given it up.
    """

    __slots__ = ("cancelled", "request_id", "worker")

    def __init__(self, request_id: int = 0, worker: int = 0) -> None:
        self.request_id = request_id
        self.worker = worker
        self.cancelled = False


#: The call that this context runs: the worker sets it before it starts an action, and threads that
#: Trio starts have a copy of it.
current_call: ContextVar[CallState | None] = ContextVar(
    "trioserve.dirty.current_call", default=None
)


def cancelled() -> bool:
    """Whether the caller of the action that runs here has given up: left, cancelled, out of time.

    For ``def`` actions, which nothing can interrupt: one that takes long looks now and then, and
    returns. (An ``async def`` action is cancelled as anything is in Trio, and a generator is closed
    at its next item.) Outside of a call, as in a test that calls the method itself, it is False.
    """
    call = current_call.get()
    return call is not None and call.cancelled

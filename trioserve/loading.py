# SPDX-License-Identifier: MIT
"""From ``module:attr`` to an ASGI application or a hook, or one message that says what is wrong.

The application's own code runs here (its import, its factory), so this is a border: whatever it
raises becomes an AppImportError. If the fault lies inside that code, its exception is the
``__cause__``, and :func:`app_traceback` formats its traceback with the application's frames
only.
"""

from __future__ import annotations

import importlib
import inspect
import os
import sys
from typing import TYPE_CHECKING, Any, cast

from trioserve.asgi_shape import complaint_about
from trioserve.errors import AppImportError
from trioserve.suggestions import did_you_mean

if TYPE_CHECKING:
    import traceback
    from collections.abc import Callable
    from types import TracebackType

    from trioserve.config import Config
    from trioserve.types import ASGIApp

__all__ = ["app_traceback", "is_app_file", "load_app", "load_hook", "load_hooks", "put_on_path"]

_DEFAULT_ATTRIBUTES = ("app", "application")

#: The hooks that run in the server's process; dirty_worker_init and worker_init are imported where
#: they run.
_HOOKS = (
    "ssl_context",
    "on_dirty_starting",
    "dirty_post_fork",
    "dirty_worker_exit",
    "on_starting",
    "when_ready",
    "on_reload",
    "on_exit",
    "pre_worker",
    "post_worker",
    "worker_exit",
    "workers_changed",
)


def load_app(spec: str, *, factory: bool = False, app_dir: str = ".") -> ASGIApp:
    """Import an ASGI application.

    Args:
        spec: ``module:attr``; both may be dotted. Without ``:attr`` it is ``app``, else
            ``application``.
        factory: The attribute is a callable without arguments that returns the application.
        app_dir: Put first on ``sys.path``, and left there: the application may import later.

    Raises:
        AppImportError: The module or attribute is missing, its code raised, or what came is no
            ASGI application. Its ``__cause__`` is the application's exception, if there is one.
    """
    module_name, path = _parse(spec)
    put_on_path(app_dir)
    module = _import(module_name, app_dir)
    found = _attribute(module, module_name, path) if path else _default(module, module_name)
    name = spec if path else f"{module_name}:{found[0]}"
    app = _call_factory(name, found[1]) if factory else found[1]
    complaint = complaint_about(app, made_by_factory=factory)
    if complaint:
        raise AppImportError(f'"{name}": {complaint}')
    return cast("ASGIApp", app)


def load_hook(
    name: str, hook: str | Callable[..., object], *, app_dir: str = "."
) -> Callable[..., object]:
    """Return what a setting like ``on_dirty_starting`` names; a callable is that already.

    Args:
        name: The setting's name, for errors.
        hook: ``module:attr``, or a callable.
        app_dir: As ``load_app`` has it.

    Raises:
        AppImportError: As ``load_app`` does; or what was imported can't be called, or is async.
    """
    if not isinstance(hook, str):
        _refuse_async(name, hook)
        return hook
    try:
        module_name, path = _parse(hook)
        put_on_path(app_dir)
        found = _attribute(_import(module_name, app_dir), module_name, path)[1]
    except AppImportError as exc:
        raise AppImportError(f"{name}: {exc}") from exc.__cause__
    if not callable(found):
        kind = type(found).__name__
        raise AppImportError(f'{name} "{hook}": expected a callable, got an object of {kind}')
    _refuse_async(f'{name} "{hook}"', found)
    return cast("Callable[..., object]", found)


def _refuse_async(what: str, hook: object) -> None:
    """A hook is called where nothing can wait for it."""
    if inspect.iscoroutinefunction(hook) or inspect.isasyncgenfunction(hook):
        raise AppImportError(f"{what}: the hook is async; it must be a plain function (def)")


def load_hooks(config: Config) -> Config:
    """Return the config with callables for those of the server's hooks that are texts.

    Raises:
        AppImportError: As ``load_hook`` does, for the first that is wrong.
    """
    hooks = {name: getattr(config, name) for name in _HOOKS}
    return config.with_changes(
        **{
            name: load_hook(name, hook, app_dir=config.app_dir)
            for name, hook in hooks.items()
            if hook is not None
        }
    )


def _parse(spec: str) -> tuple[str, str]:
    module, colon, path = spec.partition(":")
    if module.endswith(".py") or os.sep in module:
        stem = module.removesuffix(".py").strip(os.sep + ".").replace(os.sep, ".")
        raise AppImportError(
            f'"{spec}": expected module:attr, got the path of a file; '
            f'write "{stem}:{path or "app"}" (and --app-dir DIR if it lies elsewhere)'
        )
    names = [*module.split("."), *(path.split(".") if colon else ())]
    if not all(name.isidentifier() for name in names):
        raise AppImportError(f'"{spec}": expected module:attr, as in "package.module:app"')
    return module, path


def put_on_path(app_dir: str) -> None:
    """Have modules looked for in this directory first, from now on.

    Raises:
        AppImportError: There is no such directory.
    """
    directory = os.path.abspath(app_dir)
    if not os.path.isdir(directory):
        raise AppImportError(f'app_dir "{app_dir}": there is no such directory ("{directory}")')
    if sys.path[:1] != [directory]:
        sys.path.insert(0, directory)


def _import(name: str, app_dir: str) -> Any:
    try:
        return importlib.import_module(name)
    except ModuleNotFoundError as exc:
        # Its own import statement that fails raises the same class; then its frames are there.
        if _has_app_frames(exc.__traceback__):
            raise AppImportError(_failed_inside(name, exc)) from exc
        raise AppImportError(_module_is_missing(name, exc, app_dir)) from None
    except (Exception, SystemExit) as exc:
        raise AppImportError(_failed_inside(name, exc)) from exc


def _failed_inside(name: str, exc: BaseException) -> str:
    return f'importing "{name}" failed inside the application: {_one_line(exc)}'


def _one_line(exc: BaseException) -> str:
    text = str(exc).partition("\n")[0]
    return f"{type(exc).__name__}: {text}" if text else type(exc).__name__


def _module_is_missing(name: str, exc: ModuleNotFoundError, app_dir: str) -> str:
    missing = exc.name or name
    place = os.path.abspath(app_dir)
    if not name.startswith(missing):
        return f'"{name}": {exc}'
    parent = name.rpartition(".")[0]
    if parent and missing == name:
        what = f'there is no module "{name}" in the package "{parent}"'
        if "is not a package" in str(exc):
            what = f'"{parent}" is a module, not a package, so there is no "{name}" in it'
        return f"{what}; an attribute follows a colon, as in module:attr"
    return (
        f'there is no module "{missing}" in "{place}" or elsewhere on sys.path; '
        "check its name, give --app-dir DIR, or install it"
    )


def _default(module: Any, module_name: str) -> tuple[str, Any]:
    for name in _DEFAULT_ATTRIBUTES:
        if hasattr(module, name):
            return name, getattr(module, name)
    raise AppImportError(
        f'module "{module_name}" has neither "app" nor "application"; '
        f'name the attribute, as in "{module_name}:attr"'
    )


def _attribute(module: Any, module_name: str, path: str) -> tuple[str, Any]:
    found, so_far = module, f'module "{module_name}"'
    walked: list[str] = []
    for name in path.split("."):
        try:
            found = getattr(found, name)
        except AttributeError:
            hint = did_you_mean(name, (known for known in dir(found) if known[:1] != "_"))
            raise AppImportError(f'{so_far} has no attribute "{name}"{hint}') from None
        except Exception as exc:  # a module may compute its attributes (PEP 562)
            raise AppImportError(_failed_inside(f"{module_name}:{path}", exc)) from exc
        walked.append(name)
        so_far = f'"{module_name}:{".".join(walked)}"'
    return path, found


def _call_factory(name: str, factory: Any) -> Any:
    if not callable(factory):
        kind = type(factory).__name__
        raise AppImportError(f'"{name}": --factory expects a callable, got an object of {kind}')
    try:
        app = factory()
    except (Exception, SystemExit) as exc:
        if not _has_app_frames(exc.__traceback__) and isinstance(exc, TypeError):
            # The call itself failed: it takes arguments. An application does; a factory must not.
            raise AppImportError(
                f'"{name}": --factory calls it without arguments, and that fails ({exc}); '
                "if it is the application itself, leave --factory out"
            ) from None
        raise AppImportError(f'the factory "{name}" failed: {_one_line(exc)}') from exc
    if inspect.iscoroutine(app):
        app.close()  # or Python warns that it was never awaited
        raise AppImportError(
            f'"{name}": the factory is async; it must be a plain function that returns the app'
        )
    return app


def app_traceback(error: AppImportError) -> str:
    """Return the traceback of the application's exception behind this error; "" without one.

    Frames of trioserve and of the import machinery are left out.
    """
    if error.__cause__ is None:
        return ""
    import traceback

    report = traceback.TracebackException.from_exception(error.__cause__, compact=True)
    _drop_our_frames(report)
    return "".join(report.format())


def _drop_our_frames(report: traceback.TracebackException) -> None:
    kept = [frame for frame in report.stack if is_app_file(frame.filename)]
    report.stack[:] = kept
    nested = [report.__cause__, report.__context__, *(report.exceptions or ())]
    for other in nested:
        if other is not None:
            _drop_our_frames(other)


def _has_app_frames(frames: TracebackType | None) -> bool:
    while frames is not None:
        if is_app_file(frames.tb_frame.f_code.co_filename):
            return True
        frames = frames.tb_next
    return False


def is_app_file(filename: str) -> bool:
    """Whether code of this file is neither of this module nor of the import machinery."""
    ours = (__file__, importlib.__file__)
    return filename not in ours and not filename.startswith("<frozen importlib")

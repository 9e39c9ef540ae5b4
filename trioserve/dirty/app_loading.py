# SPDX-License-Identifier: MIT
"""From ``module:Class`` to the class, in a worker, or one error that says what is wrong.

The app's own code runs here, so this is a border: whatever its import raises becomes a
DirtyAppError that carries the traceback to the arbiter's log.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any, Final, cast

from trioserve.dirty.descriptions import describe_exception
from trioserve.dirty.errors import DirtyAppError, DirtyAppNotFoundError
from trioserve.import_strings import split_import_string
from trioserve.suggestions import did_you_mean

if TYPE_CHECKING:
    from collections.abc import Callable
    from types import TracebackType

__all__ = ["load_app_class", "load_hook", "look_up"]

_REQUIRED: Final = ("init", "__call__", "close")


def load_app_class(path: str) -> type:
    """Import the class that a dirty app is.

    Args:
        path: ``module:Class``; both may be dotted. The module is looked for on ``sys.path``.

    Raises:
        DirtyAppNotFoundError: There is no such module, or no such attribute in it.
        DirtyAppError: Its import failed in the app's own code (that exception is the ``__cause__``,
            its traceback in ``details``), what was imported is no class, or the class lacks one of
            ``init``, ``__call__`` and ``close``.
    """
    found = _import(path)
    if not isinstance(found, type):
        kind = type(found).__name__
        raise DirtyAppError(f"{path}: expected a class, got an object of {kind}", app_path=path)
    missing = [name for name in _REQUIRED if not callable(_plain(look_up(found, name)))]
    if missing:
        raise DirtyAppError(
            f"{path} is no dirty app: it has no {' and no '.join(missing)}; "
            "derive it from trioserve.dirty.DirtyApp",
            app_path=path,
        )
    return found


def look_up(cls: type, name: str, default: object = None) -> Any:
    """What a class or one of its bases holds under a name, as it stands there.

    Nothing is bound or computed, and the metaclass isn't asked, which has a ``__call__`` for every
    class (``inspect.getattr_static`` would find that).
    """
    for base in cls.__mro__:
        if name in vars(base):
            return vars(base)[name]
    return default


def _plain(attribute: object) -> object:
    return attribute.__func__ if isinstance(attribute, classmethod) else attribute


def load_hook(path: str) -> Callable[..., object]:
    """Import a callable, such as ``dirty_worker_init``; the errors are those of an app's import."""
    found = _import(path)
    if not callable(found):
        kind = type(found).__name__
        raise DirtyAppError(f"{path}: expected a callable, got an object of {kind}", app_path=path)
    return cast("Callable[..., object]", found)


def _import(path: str) -> Any:
    parts = split_import_string(path)
    if parts is None:
        raise DirtyAppError(f'{path!r}: expected "module:Class"', app_path=path)
    module_name, attribute = parts
    try:
        found = importlib.import_module(module_name)
    except ModuleNotFoundError as exc:
        # An import statement of the app's own that fails raises the same class, but from its frame.
        if _app_frames(exc.__traceback__) or not _is_part_of(exc.name, module_name):
            raise _failed(path, exc) from exc
        raise DirtyAppNotFoundError(
            f'{path}: there is no module "{exc.name}" on sys.path; check its name, give --app-dir, '
            "or install it",
            app_path=path,
        ) from exc
    except KeyboardInterrupt:
        raise
    except BaseException as exc:  # an app's border: whatever its import raises
        raise _failed(path, exc) from exc
    return _attribute(found, path, module_name, attribute)


def _attribute(module: Any, path: str, module_name: str, attribute: str) -> Any:
    found, so_far = module, f'module "{module_name}"'
    for name in attribute.split("."):
        try:
            found = getattr(found, name)
        except AttributeError as exc:
            hint = did_you_mean(name, (known for known in dir(found) if known[:1] != "_"))
            message = f'{path}: {so_far} has no attribute "{name}"{hint}'
            raise DirtyAppNotFoundError(message, app_path=path) from exc
        except KeyboardInterrupt:
            raise
        except BaseException as exc:  # a module may compute its attributes (PEP 562)
            raise _failed(path, exc) from exc
        so_far = f'"{name}"'
    return found


def _is_part_of(missing: str | None, module_name: str) -> bool:
    return missing is not None and (module_name + ".").startswith(missing + ".")


def _failed(path: str, exc: BaseException) -> DirtyAppError:
    raised = describe_exception(exc, _app_frames(exc.__traceback__))
    text = raised.message.partition("\n")[0]
    return DirtyAppError(
        f"{path}: its import failed: {raised.name}" + (f": {text}" if text else ""),
        app_path=path,
        exception_type=raised.kind,
        traceback=raised.traceback,
    )


def _app_frames(frames: TracebackType | None) -> TracebackType | None:
    """The traceback from the first frame that is neither ours nor the import machinery's."""
    while frames is not None:
        file = frames.tb_frame.f_code.co_filename
        if file not in (__file__, importlib.__file__) and not file.startswith("<frozen importlib"):
            return frames
        frames = frames.tb_next
    return None

# SPDX-License-Identifier: MIT
"""What can go wrong with a dirty call or the stash, and how it travels between processes.

On the wire an error is a dict of three: ``error_type`` (the class's name), ``message`` and
``details`` (what the class knows beyond its message). A name that this version doesn't know
becomes a DirtyError: nothing of it is lost but the class.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, ClassVar

from trioserve.dirty.descriptions import shown

__all__ = [
    "DirtyAppError",
    "DirtyAppNotFoundError",
    "DirtyConnectionError",
    "DirtyError",
    "DirtyNoWorkersAvailableError",
    "DirtyOverloadedError",
    "DirtyProtocolError",
    "DirtyTimeoutError",
    "DirtyWorkerError",
    "StashError",
    "StashKeyNotFoundError",
    "StashTableNotFoundError",
]


class DirtyError(Exception):
    """Anything that keeps a dirty call from its result.

    Args:
        message: what was expected, what came, what to do.
        **details: what the class names in its docstring; each is an attribute, too. Only what can
            be sent (see tlv) may stand here.

    Attributes:
        message: the same.
        details: those that are not None, as they travel.
    """

    #: Details that are attributes of the class, None where they were not given.
    _fields: ClassVar[tuple[str, ...]] = ()

    def __init__(self, message: str, **details: Any) -> None:
        super().__init__(message)
        self.message = message
        self.details = {name: value for name, value in details.items() if value is not None}

    def __str__(self) -> str:
        return self.message

    def __reduce__(self) -> tuple[Any, ...]:
        return _rebuild, (type(self), self.message, self.details)

    def __getattr__(self, name: str) -> Any:
        # Only for names that nothing else has: the class's details.
        if name in type(self)._fields:
            return self.__dict__.get("details", {}).get(name)
        raise AttributeError(f"{type(self).__name__!r} object has no attribute {name!r}")

    def to_dict(self) -> dict[str, Any]:
        """The error as it stands in an ERROR frame."""
        return {
            "error_type": type(self).__name__,
            "message": self.message,
            "details": self.details,
        }

    @staticmethod
    def from_dict(data: object) -> DirtyError:
        """The error that an ERROR frame holds, of whatever shape: a peer may be another program.

        The worker's traceback, where there is one, becomes a note, so that whoever logs the error
        sees it.
        """
        if not isinstance(data, Mapping):
            return DirtyError(f"an error without a description came: {shown(data)}")
        error_class = _CLASSES.get(str(data.get("error_type")), DirtyError)
        details = data.get("details")
        error = _rebuild(
            error_class,
            str(data.get("message") or "no message came with this error"),
            dict(details) if isinstance(details, Mapping) else {},
        )
        traceback = error.details.get("traceback")
        if traceback:
            error.add_note(f"In the worker:\n{traceback}".rstrip())
        return error


class DirtyTimeoutError(DirtyError):
    """The call's time is over: ``timeout`` seconds, the queue included."""

    _fields = ("timeout",)


class DirtyConnectionError(DirtyError):
    """The arbiter at ``socket_path`` can't be reached, or has gone."""

    _fields = ("socket_path",)


class DirtyWorkerError(DirtyError):
    """The worker ``worker_id`` (its pid) died during the call, or could not start."""

    _fields = ("worker_id", "traceback")


class DirtyAppError(DirtyError):
    """The action raised: ``exception_type`` (qualified name) and ``traceback`` are the worker's."""

    _fields = ("app_path", "action", "traceback", "exception_type")


class DirtyAppNotFoundError(DirtyAppError):
    """No app is configured under ``app_path``."""


class DirtyNoWorkersAvailableError(DirtyError):
    """The app ``app_path`` is known, but no worker runs it, and none is about to."""

    _fields = ("app_path",)


class DirtyOverloadedError(DirtyError):
    """The queue of ``app_path`` is full: ``queue_size`` calls wait. Try later, or shed load."""

    _fields = ("app_path", "queue_size")


class DirtyProtocolError(DirtyError):
    """Bytes that are no frame or no value, or a value that can't be sent."""

    _fields = ("raw_data",)


class StashError(DirtyError):
    """A stash operation that can't be done."""

    _fields = ("table", "key")


class StashTableNotFoundError(StashError, KeyError):
    """There is no such table."""


class StashKeyNotFoundError(StashError, KeyError):
    """There is no such key in the table."""


def _rebuild(cls: type[DirtyError], message: str, details: dict[str, Any]) -> DirtyError:
    """An error of ``cls`` from its parts; past subclasses' own ``__init__``."""
    error = cls.__new__(cls, message)
    DirtyError.__init__(error, message)
    error.details = details
    return error


_CLASSES: dict[str, type[DirtyError]] = {
    cls.__name__: cls
    for cls in (
        DirtyError,
        DirtyTimeoutError,
        DirtyConnectionError,
        DirtyWorkerError,
        DirtyAppError,
        DirtyAppNotFoundError,
        DirtyNoWorkersAvailableError,
        DirtyOverloadedError,
        DirtyProtocolError,
        StashError,
        StashTableNotFoundError,
        StashKeyNotFoundError,
    )
}

# SPDX-License-Identifier: MIT
"""Changes of files, by the package watchfiles: inotify, FSEvents, or polling where neither works.

No task of its own: whoever asks for the next changes waits for them in a thread, which looks every
_STEP milliseconds whether some have come, and whether the waiting was cancelled. What changes
between two questions is kept by watchfiles' own thread, which the block's end stops. A directory
that is gone, or is another one by now, is looked for every _LOOK milliseconds, and watched again.
"""

from __future__ import annotations

import contextlib
import logging
import os
import platform
from importlib.util import find_spec
from typing import TYPE_CHECKING, Any, Final, Protocol, Self

import trio

from trioserve.errors import ConfigError
from trioserve.reloading.patterns import make_rules

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Iterable

    from trioserve.config import Config

__all__ = ["Watch", "check_reload", "open_watch"]

_log = logging.getLogger("trioserve.error")

# Milliseconds. An editor that replaces a file makes several changes within a few of them: they are
# over once nothing came in a step. Where it never ends, what came in _DEBOUNCE is told.
_STEP: Final = 40
_DEBOUNCE: Final = 400
_LOOK: Final = 1_000
_POLL_DELAY: Final = 200

_Identity = tuple[int, int]


class _Notify(Protocol):
    """watchfiles' RustNotify, as it is used here."""

    def watch(
        self, debounce_ms: int, step_ms: int, timeout_ms: int, stop_event: Any
    ) -> set[tuple[int, str]] | str: ...

    def close(self) -> None: ...


def check_reload(config: Config) -> None:
    """Look whether ``--reload`` can do what the settings ask for; nothing without it.

    Raises:
        ConfigError: a directory doesn't exist, or watchfiles is not installed.
    """
    if not config.reload:
        return
    if find_spec("watchfiles") is None:
        raise ConfigError(
            "reload: watchfiles is not installed here; install it "
            '(pip install "trioserve[reload]"), or leave --reload out'
        )
    for name, directory in _given(config):
        if not os.path.isdir(directory):
            raise ConfigError(
                f'{name} "{directory}": there is no such directory ("{os.path.abspath(directory)}")'
            )


def _given(config: Config) -> list[tuple[str, str]]:
    """Each directory with the setting that names it."""
    if config.reload_dir:
        return [("reload_dir", directory) for directory in config.reload_dir]
    return [("app_dir", config.app_dir)]


@contextlib.asynccontextmanager
async def open_watch(config: Config) -> AsyncIterator[Watch]:
    """Watches the directories of ``reload_dir``, else ``app_dir``, during the block.

    What comes out is an async iterator of sets of absolute paths: what has been created, changed,
    replaced or deleted since the last set, as far as the settings say that it matters. A set may
    be of directories, where one came back that had been gone.

    Raises:
        ConfigError: as check_reload has it, or the system can't watch so many directories.

    *Cancellation* ends the waiting within a few hundredths of a second. No thread stays behind.
    """
    check_reload(config)
    watch = Watch(config)
    await watch.open()
    try:
        yield watch
    finally:
        watch.close()


class Watch:
    """An async iterator of what has changed; made by open_watch.

    Attributes:
        directories: the watched ones, absolute.
    """

    def __init__(self, config: Config) -> None:
        self.directories = sorted({os.path.abspath(directory) for _, directory in _given(config)})
        self._rules = make_rules(config)
        self._notify: _Notify | None = None
        self._watched: dict[str, _Identity] = {}
        self._roots: set[str] = set()

    def __aiter__(self) -> Self:
        return self

    async def __anext__(self) -> frozenset[str]:
        while True:
            found = await self._look_for_directories()
            if not found:
                assert self._notify is not None, "the block of open_watch has been left"
                changes = await trio.to_thread.run_sync(
                    self._notify.watch, _DEBOUNCE, _STEP, _LOOK, _Cancelled()
                )
                # No checkpoint from here on: what was taken from watchfiles is handed over.
                found = self._sort_out(changes) if isinstance(changes, set) else set()
            if found:
                return frozenset(found)

    async def open(self) -> None:
        """Begins to watch those directories that are there, in place of what was watched before.

        Raises:
            ConfigError: the system can't watch them.
        """
        identities = {path: _identity(path) for path in self.directories}
        watched = {path: found for path, found in identities.items() if found is not None}
        # It walks through all of them, which takes its time.
        notify = await trio.to_thread.run_sync(_make_notify, list(watched))
        self.close()
        self._notify, self._watched = notify, watched
        # FSEvents names files by their real paths.
        self._roots = {*self.directories, *map(os.path.realpath, self.directories)}

    def close(self) -> None:
        """Stops watchfiles' thread."""
        if self._notify is not None:
            self._notify.close()
            self._notify = None

    def _sort_out(self, changes: set[tuple[int, str]]) -> set[str]:
        found = set()
        for _, path in changes:
            for root in self._roots_of(path):
                if self._rules.matters(root, path):
                    found.add(path)
                # Files in it may have been there before it was watched.
                elif os.path.isdir(path) and self._rules.may_hold_some(root, path):
                    found.update(self._files_in(root, path))
        return found

    def _roots_of(self, path: str) -> Iterable[str]:
        return (root for root in self._roots if path.startswith(root.rstrip("/") + "/"))

    def _files_in(self, root: str, directory: str) -> Iterable[str]:
        for parent, directories, files in os.walk(directory):
            directories[:] = [
                name
                for name in directories
                if self._rules.may_hold_some(root, os.path.join(parent, name))
            ]
            for name in files:
                path = os.path.join(parent, name)
                if self._rules.matters(root, path):
                    yield path

    async def _look_for_directories(self) -> set[str]:
        """Watches those again that came back; returns them."""
        now = {path: _identity(path) for path in self.directories}
        for path in [path for path in self._watched if now[path] is None]:
            del self._watched[path]
            _log.warning('reload: "%s" is gone; it is watched again once it is back', path)
        back = {path for path, found in now.items() if found and found != self._watched.get(path)}
        if not back:
            return back
        try:
            await self.open()
        except ConfigError as exc:
            _log.error("%s", exc)
            self._watched.update({path: found for path, found in now.items() if found})
        else:
            _log.info("reload: watching %s again", ", ".join(f'"{path}"' for path in sorted(back)))
        return back


class _Cancelled:
    """What watchfiles takes for an event: it is asked every _STEP whether to stop."""

    def is_set(self) -> bool:
        trio.from_thread.check_cancelled()  # its Cancelled goes through watchfiles to the task
        return False


def _make_notify(directories: list[str]) -> _Notify:
    from watchfiles._rust_notify import RustNotify

    try:
        # No debugging output; recursively; what can't be read is passed over.
        notify: _Notify = RustNotify(directories, False, _has_to_poll(), _POLL_DELAY, True, True)
    except (OSError, RuntimeError) as exc:
        raise ConfigError(
            f"reload: {' '.join(directories)} can't be watched ({exc}); name fewer directories by "
            "--reload-dir, raise the system's limit (fs.inotify.max_user_watches), or set "
            "WATCHFILES_FORCE_POLLING=1"
        ) from exc
    return notify


def _has_to_poll() -> bool:
    """As watchfiles itself decides it: by its variable, and where Windows' files are mounted."""
    asked = os.environ.get("WATCHFILES_FORCE_POLLING")
    if asked:
        return asked.lower() not in ("false", "disable", "disabled")
    return "microsoft-standard" in platform.uname().release.lower()


def _identity(path: str) -> _Identity | None:
    try:
        found = os.stat(path)
    except OSError:
        return None
    return found.st_dev, found.st_ino

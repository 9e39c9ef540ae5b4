# SPDX-License-Identifier: MIT
"""The settings of the dirty pool and its stash: a group like those in :mod:`.options`."""

from __future__ import annotations

from typing import Final

import attrs

from trioserve.config import dirty_kinds, kinds
from trioserve.config.fields import Hook, about, setting
from trioserve.errors import ConfigError
from trioserve.import_strings import DirtyAppSpec, parse_dirty_app

__all__ = ["DirtyOptions"]

_GROUP: Final = "Dirty pool"


@attrs.frozen(kw_only=True, slots=False)
class DirtyOptions:
    """The pool of worker processes beside the server, and the stash they share."""

    dirty_app: tuple[str, ...] = attrs.field(
        default=(),
        converter=kinds.as_texts,
        validator=dirty_kinds.DIRTY_APPS,
        metadata=about(
            _GROUP,
            dirty_kinds.DIRTY_APPS,
            "A class to run in worker processes, as module:Class, or as module:Class:N to load it "
            "in N of them only; may be repeated",
        ),
    )
    dirty_workers: int | None = setting(
        _GROUP,
        kinds.OPTIONAL_COUNT,
        None,
        "Worker processes; 0 = none, whatever the apps; not set: 1 if there is a dirty_app",
    )
    dirty_threads: int = setting(
        _GROUP, kinds.AT_LEAST_ONE, 1, "Plain (def) actions that run at a time in a worker"
    )
    dirty_concurrency: int = setting(
        _GROUP, kinds.AT_LEAST_ONE, 100, "Async actions that run at a time in a worker"
    )
    dirty_queue_size: int = setting(
        _GROUP,
        kinds.AT_LEAST_ONE,
        1000,
        "Calls of an app that may wait for a worker; one more is refused at once",
    )
    dirty_timeout: float = setting(
        _GROUP,
        kinds.SECONDS,
        300.0,
        "A call, its waiting included, may take so long, then it is ended; 0 = no limit",
    )
    dirty_startup_timeout: float = setting(
        _GROUP,
        kinds.SECONDS,
        300.0,
        "For a worker's start: importing its apps and their init(); 0 = no limit",
    )
    dirty_graceful_timeout: float = setting(
        _GROUP,
        kinds.SECONDS,
        30.0,
        "Calls under way may finish when a worker is stopped; 0 = end them at once",
    )
    dirty_heartbeat_timeout: float = setting(
        _GROUP,
        kinds.SECONDS,
        120.0,
        "A worker that answers nothing for so long (it is stopped, or its loop is blocked) is "
        "replaced; 0 = never",
    )
    dirty_max_frame_size: int = setting(
        _GROUP,
        dirty_kinds.FRAME_SIZE,
        64 << 20,
        "Longest message: the arguments of a call, its result, a chunk of a stream",
    )
    dirty_socket: str | None = attrs.field(
        default=None,
        converter=kinds.as_path_text,
        validator=dirty_kinds.SOCKET_PATH,
        metadata=about(
            _GROUP,
            dirty_kinds.SOCKET_PATH,
            "Path of the pool's Unix socket, for other processes; not set: one in a private "
            "directory",
        ),
    )
    dirty_stash_size: int = setting(
        _GROUP, kinds.SIZE_LIMIT, 1 << 30, "Most that all tables of the stash hold together"
    )
    dirty_stash_table_size: int = setting(
        _GROUP, kinds.SIZE_LIMIT, 256 << 20, "Most that one table of the stash holds"
    )
    on_dirty_starting: Hook | None = attrs.field(
        default=None,
        validator=kinds.HOOK,
        metadata=about(
            _GROUP, kinds.HOOK, "Called as hook(arbiter) before the first worker starts"
        ),
    )
    dirty_post_fork: Hook | None = attrs.field(
        default=None,
        validator=kinds.HOOK,
        metadata=about(
            _GROUP, kinds.HOOK, "Called as hook(arbiter, worker) when a worker was started"
        ),
    )
    # It runs in another process, which is told where to import it from.
    dirty_worker_init: str | None = attrs.field(
        default=None,
        converter=dirty_kinds.as_import_string,
        validator=dirty_kinds.WORKER_HOOK,
        metadata=about(
            _GROUP,
            dirty_kinds.WORKER_HOOK,
            "Called as hook(worker) in the worker's process, once its apps are initialised",
        ),
    )
    dirty_worker_exit: Hook | None = attrs.field(
        default=None,
        validator=kinds.HOOK,
        metadata=about(
            _GROUP, kinds.HOOK, "Called as hook(arbiter, worker) when a worker has ended"
        ),
    )

    def __attrs_post_init__(self) -> None:
        if self.dirty_workers and not self.dirty_app:
            raise ConfigError(
                f"dirty_workers {self.dirty_workers}: there is no dirty_app for them to run; "
                'name one, as in dirty_app = ["module:Class"]'
            )

    @property
    def dirty_apps(self) -> tuple[DirtyAppSpec, ...]:
        """The apps, parsed."""
        return tuple(parse_dirty_app(text) for text in self.dirty_app)

    @property
    def dirty_worker_count(self) -> int:
        """How many workers the pool starts with; 0: there is no pool."""
        if not self.dirty_app:
            return 0
        return 1 if self.dirty_workers is None else self.dirty_workers

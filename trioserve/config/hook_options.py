# SPDX-License-Identifier: MIT
"""The settings that are functions, of which :mod:`trioserve.hooks` tells more."""

from __future__ import annotations

from typing import Final

import attrs

from trioserve.config import dirty_kinds, kinds
from trioserve.config.fields import Hook, about

__all__ = ["HookOptions"]

_GROUP: Final = "Hooks"


@attrs.frozen(kw_only=True, slots=False)
class HookOptions:
    """Functions of the operator's that the server calls at certain points of its life."""

    on_starting: Hook | None = attrs.field(
        default=None,
        validator=kinds.HOOK,
        metadata=about(
            _GROUP,
            kinds.HOOK,
            "Called as hook(arbiter) before anything is opened; what it raises stops the start",
        ),
    )
    when_ready: Hook | None = attrs.field(
        default=None,
        validator=kinds.HOOK,
        metadata=about(
            _GROUP, kinds.HOOK, "Called as hook(arbiter) when the server has begun to serve"
        ),
    )
    on_reload: Hook | None = attrs.field(
        default=None,
        validator=kinds.HOOK,
        metadata=about(_GROUP, kinds.HOOK, "Called as hook(arbiter) when a reload begins"),
    )
    on_exit: Hook | None = attrs.field(
        default=None,
        validator=kinds.HOOK,
        metadata=about(_GROUP, kinds.HOOK, "Called as hook(arbiter) when everything has stopped"),
    )
    pre_worker: Hook | None = attrs.field(
        default=None,
        validator=kinds.HOOK,
        metadata=about(
            _GROUP, kinds.HOOK, "Called as hook(arbiter, worker) before a worker process is started"
        ),
    )
    post_worker: Hook | None = attrs.field(
        default=None,
        validator=kinds.HOOK,
        metadata=about(
            _GROUP, kinds.HOOK, "Called as hook(arbiter, worker) when a worker process was started"
        ),
    )
    # It runs in another process, which is told where to import it from.
    worker_init: str | None = attrs.field(
        default=None,
        converter=dirty_kinds.as_import_string,
        validator=dirty_kinds.WORKER_HOOK,
        metadata=about(
            _GROUP,
            dirty_kinds.WORKER_HOOK,
            "Called as hook(worker) in the worker, its app loaded, before it serves",
        ),
    )
    worker_exit: Hook | None = attrs.field(
        default=None,
        validator=kinds.HOOK,
        metadata=about(
            _GROUP, kinds.HOOK, "Called as hook(arbiter, worker) when a worker process has ended"
        ),
    )
    workers_changed: Hook | None = attrs.field(
        default=None,
        validator=kinds.HOOK,
        metadata=about(
            _GROUP,
            kinds.HOOK,
            "Called as hook(arbiter, new, old) when another number of workers is wanted",
        ),
    )

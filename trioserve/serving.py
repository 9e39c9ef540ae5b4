# SPDX-License-Identifier: MIT
"""A server in a Trio program: its listeners, its dirty pool, and HTTP between them."""

from __future__ import annotations

import contextlib
from typing import TYPE_CHECKING, Any

import trio

from trioserve.asgi.extension import Options
from trioserve.config import Config
from trioserve.errors import BindError, ConfigError
from trioserve.listeners import open_listeners
from trioserve.server import serve_until
from trioserve.tls import open_contexts

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Mapping
    from contextlib import AbstractAsyncContextManager

    from trioserve.addresses import BoundAddress
    from trioserve.dirty.arbiter import DirtyArbiter
    from trioserve.listeners import Listener
    from trioserve.types import ASGIApp

__all__ = ["open_bound_listeners", "open_pool", "pool_extensions", "serve"]


def open_bound_listeners(
    config: Config, inherited: Mapping[tuple[str, str], list[int]] | None = None
) -> AbstractAsyncContextManager[list[Listener]]:
    """The listeners of a server; see open_listeners."""
    return open_listeners(
        config,
        scheme="https" if config.has_tls else "http",
        insecure_bind=config.insecure_bind,
        inherited=inherited or {},
        reuse_port=config.reuse_port,
    )


@contextlib.asynccontextmanager
async def open_pool(
    config: Config, predecessor: int | None = None
) -> AsyncIterator[DirtyArbiter | None]:
    """The dirty pool of ``config`` around the block; None where there are no dirty apps.

    Args:
        predecessor: the process that this one replaces, in a hot upgrade.

    Raises:
        BindError: the pool's socket can't be made.
    """
    if not config.dirty_worker_count:
        yield None
        return
    # Only now: a server without dirty apps doesn't pay for them.
    from trioserve.dirty.errors import DirtyError
    from trioserve.dirty.opening import open_arbiter

    arbiters = contextlib.AsyncExitStack()
    async with arbiters:
        try:
            arbiter = await arbiters.enter_async_context(open_arbiter(config, predecessor))
        except DirtyError as exc:
            raise BindError(str(exc)) from exc
        yield arbiter


def pool_extensions(pool: DirtyArbiter | None) -> Mapping[str, Any]:
    """What belongs into the ``extensions`` of every scope; nothing where there is no pool."""
    return {} if pool is None else {"trioserve.dirty": Options({"client": pool.client})}


async def serve(
    app: ASGIApp,
    config: Config | None = None,
    *,
    task_status: trio.TaskStatus[tuple[BoundAddress, ...]] = trio.TASK_STATUS_IGNORED,
) -> None:
    """Serves ``app`` inside a running Trio program until cancelled.

    ``await nursery.start(serve, app, config)`` returns the bound addresses once the application has
    started up; port 0 comes back as the real port. Several servers may run in one program.

    Args:
        app: an ASGI 3 application.
        config: by default 127.0.0.1:8000. ``app`` and ``factory`` are not looked at, and
            ``app_dir`` only where a hook is given as text.
            With ``dirty_app`` its pool runs around the server.
        task_status: is given a tuple of BoundAddress, in the order of ``bind`` and then of
            ``insecure_bind``.

    Raises:
        ConfigError: certificates, keys or ciphers can't be used, or ``workers`` are asked for: an
            application object can't be handed to another process.
        AppImportError: the ``ssl_context`` hook can't be imported, or failed.
        BindError: an address can't be bound.
        StartupError: the application's lifespan startup failed.

    *Cancellation*: a clean stop. Requests under way are cancelled, the app gets its lifespan
    shutdown (bounded by ``lifespan_shutdown_timeout``), sockets close, socket files are removed.
    """
    config = config or Config()
    if config.workers:
        raise ConfigError(
            f"workers {config.workers}: serve() serves in its own process; worker processes import "
            "their application, so they are the trioserve command's"
        )
    tls = open_contexts(config)
    async with open_bound_listeners(config) as listeners, open_pool(config) as pool:
        extensions = pool_extensions(pool)
        await serve_until(
            trio.Event(), app, config, listeners, extensions, tls, task_status=task_status
        )

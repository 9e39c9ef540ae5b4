# SPDX-License-Identifier: MIT
"""Servers with worker processes, looked at from outside: by their answers, and by /proc."""

from __future__ import annotations

import contextlib
import os
import signal
from pathlib import Path
from typing import TYPE_CHECKING

from tests.dirty_leftovers import needs_proc, wait_until
from tests.plain_client import get
from tests.server_process import REPOSITORY, serving

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from tests.server_process import ServerProcess

__all__ = [
    "Site",
    "children_of",
    "descriptors_of",
    "is_alive",
    "needs_proc",
    "serving_workers",
    "wait_for_pids",
    "wait_until",
]

#: A module may be written twice within a second, with the same length: caches would hide that.
NO_CACHE = {"PYTHONDONTWRITEBYTECODE": "1"}


@contextlib.contextmanager
def serving_workers(
    *options: str,
    workers: int = 2,
    app: str = "tests.workers_app:app",
    app_dir: Path = REPOSITORY,
    bind: str = "127.0.0.1:0",
    environ: Mapping[str, str] | None = None,
) -> Iterator[ServerProcess]:
    """A server; when the block has ended no process of it may be left."""
    with serving(
        app,
        f"--workers={workers}",
        *options,
        app_dir=app_dir,
        bind=bind,
        environ={**NO_CACHE, **(environ or {})},
    ) as server:
        seen = set(children_of(server.process.pid))
        try:
            yield server
            seen |= set(children_of(server.process.pid))
        finally:
            server.process.kill()
        wait_until(lambda: not any(map(is_alive, seen)), f"all workers have ended: {seen}")


class Site:
    """A folder with an application that can be changed, and settings for it."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.version("one")

    def version(self, text: str) -> None:
        """The application answers with this."""
        self.write(f"""
            import os, sys, trio
            async def app(scope, receive, send):
                if scope["type"] == "lifespan":
                    for _ in range(2):
                        kind = (await receive())["type"]
                        await send({{"type": kind + ".complete"}})
                    return
                if scope["path"] == "/slow":
                    sys.stdout.write("slow begins\\n")  # one write: workers share the pipe
                    sys.stdout.flush()
                    await trio.sleep(float(scope["query_string"]))
                body = b"{text}"
                if scope["path"] == "/pid":
                    body += b" %d" % os.getpid()
                head = [(b"content-length", b"%d" % len(body))]
                await send({{"type": "http.response.start", "status": 200, "headers": head}})
                await send({{"type": "http.response.body", "body": body}})
            """)

    def write(self, code: str) -> None:
        """All of the application's code, indented by anything."""
        import textwrap

        temporary = self.folder / "site_app.py.new"
        temporary.write_text(textwrap.dedent(code))
        temporary.replace(self.folder / "site_app.py")

    def settings(self, text: str) -> None:
        """The TOML file."""
        (self.folder / "trioserve.toml").write_text(text)

    @contextlib.contextmanager
    def serving(
        self,
        *options: str,
        workers: int = 2,
        bind: str = "127.0.0.1:0",
        environ: Mapping[str, str] | None = None,
    ) -> Iterator[ServerProcess]:
        """See serving_workers."""
        toml = self.folder / "trioserve.toml"
        config = [f"--config={toml}"] if toml.exists() else []
        with serving_workers(
            *config,
            *options,
            workers=workers,
            app="site_app:app",
            app_dir=self.folder,
            bind=bind,
            environ=environ,
        ) as server:
            yield server


def children_of(pid: int) -> list[int]:
    """Process ids of its children, those that wait to be reaped included."""
    found: list[int] = []
    with contextlib.suppress(OSError):
        for task in Path(f"/proc/{pid}/task").iterdir():
            found += map(int, (task / "children").read_text().split())
    return sorted(found)


def descriptors_of(pid: int) -> list[str]:
    """What is open there, as the system names it, without what tells one socket from another."""
    found = []
    for path in Path(f"/proc/{pid}/fd").iterdir():
        with contextlib.suppress(OSError):
            found.append(os.readlink(path).partition(":[")[0])
    return sorted(found)


def is_alive(pid: int) -> bool:
    """Whether it runs, or is stopped; what waits to be reaped has ended."""
    try:
        state = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
    except OSError:
        return False
    return state not in "ZX"


def wait_for_pids(address: int | str, count: int, *, without: set[int] | None = None) -> set[int]:
    """The processes that answer, once so many have, none of which is among ``without``."""
    found: set[int] = set()

    def are_enough() -> bool:
        found.add(int(get(address, "/pid").text.split()[-1]))
        return len(found - (without or set())) >= count

    wait_until(are_enough, f"{count} processes answer, and none of {without}; {found} did")
    return found - (without or set())


def kill_all(pids: set[int], number: signal.Signals = signal.SIGKILL) -> None:
    """The same signal to all; those that have ended are no error."""
    for pid in pids:
        with contextlib.suppress(ProcessLookupError):
            os.kill(pid, number)

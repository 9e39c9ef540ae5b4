# SPDX-License-Identifier: MIT
"""What is asked of a worker, and what comes of it."""

from __future__ import annotations

import socket
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any

from trioserve.config import Config
from trioserve.workers.handle import WorkerHandle

if TYPE_CHECKING:
    import trio.testing


async def test_an_answer_that_comes_too_late_is_not_taken_for_that_to_the_next_question(
    autojump_clock: trio.testing.MockClock,
) -> None:
    ours, theirs = socket.socketpair()
    with ours, theirs:
        child: Any = SimpleNamespace(pid=1, socket=ours)
        life: Any = SimpleNamespace(is_ready=False, ready=lambda: None)
        handle = WorkerHandle(
            child,
            life,
            number=1,
            age=1,
            config=Config(app="a:b"),
            dump_fd=-1,
            is_last=lambda: False,
        )
        asked: list[int] = []

        def post(message: dict[str, Any]) -> bool:
            asked.append(message["id"])
            if len(asked) == 2:
                handle._on_message({"type": "answer", "id": asked[0], "result": "too late"})
                handle._on_message({"type": "answer", "id": asked[1], "result": "right"})
            return True

        handle._channel.post = post  # type: ignore[assignment,method-assign]
        handle._on_message({"type": "ready"})
        assert await handle.ask("tasks") is None
        assert await handle.ask("snapshot") == "right"

# SPDX-License-Identifier: MIT
"""An app for gunicorn's own workers."""

from __future__ import annotations

import os
import time
from typing import TYPE_CHECKING, Any

from gunicorn.dirty import DirtyApp

if TYPE_CHECKING:
    from collections.abc import Iterator


class Echo(DirtyApp):  # type: ignore[misc]
    """As Echo of socket_apps, as far as gunicorn can do it."""

    def echo(self, *args: Any, **kwargs: Any) -> list[Any]:
        return [list(args), kwargs]

    def pid(self) -> int:
        return os.getpid()

    def fail(self) -> None:
        raise ValueError("as asked")

    def count(self, stop: int) -> Iterator[int]:
        yield from range(stop)

    def blocks(self, count: int, size: int) -> Iterator[bytes]:
        for number in range(count):
            yield number.to_bytes(4, "big") + bytes(size - 4)

    def fail_after(self, count: int) -> Iterator[int]:
        yield from range(count)
        raise ValueError("as asked")

    def nap(self, seconds: float) -> str:
        time.sleep(seconds)
        return "rested"

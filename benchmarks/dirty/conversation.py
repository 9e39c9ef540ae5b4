# SPDX-License-Identifier: MIT
"""The calling process's side of its pipes: a command a line comes in, an answer a line goes out."""

from __future__ import annotations

import json
import os
import sys
from typing import Any


class Conversation:
    """Made once, first of all: what others print goes to stderr from then on."""

    def __init__(self) -> None:
        self._answers = os.fdopen(os.dup(1), "w")
        os.dup2(2, 1)

    def fileno(self) -> int:
        """Where commands come from, to wait for one: no second one comes before the answer."""
        return sys.stdin.fileno()

    def next(self) -> dict[str, Any] | None:
        """Waits for a command; None at the end."""
        line = sys.stdin.readline()
        command: dict[str, Any] | None = json.loads(line) if line else None
        return command

    def say(self, answer: dict[str, Any]) -> None:
        print(json.dumps(answer), file=self._answers, flush=True)

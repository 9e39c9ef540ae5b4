# SPDX-License-Identifier: MIT
"""An app whose import takes its time."""

from __future__ import annotations

import os
import time

from trioserve.dirty import DirtyApp

time.sleep(1.0)


class App(DirtyApp):
    """Nothing else is slow about it."""

    def pid(self) -> int:
        return os.getpid()

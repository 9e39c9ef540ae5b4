# SPDX-License-Identifier: MIT
"""A calling process: `python -m benchmarks.dirty.caller POOL`, a module of benchmarks.dirty.pools.

It opens the pool, says that it is ready, carries out what it is told and says what it measured. It
makes the load itself, as the process of a web server does, so its own part of a call is measured
with the rest. The end of its standard input is its own.
"""

from __future__ import annotations

import importlib
import sys

from benchmarks.dirty.conversation import Conversation

if __name__ == "__main__":
    importlib.import_module(f"benchmarks.dirty.pools.{sys.argv[1]}").run(Conversation())

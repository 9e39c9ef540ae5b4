# SPDX-License-Identifier: MIT
"""gunicorn's dirty arbiter, two workers: ``python -m tests.dirty.interop.gunicorn_pool SOCKET``.

As in gunicorn's main process, it is made here and runs in a child: it ends itself when its parent
is another process than the one that made it.
"""

from __future__ import annotations

import os
import sys

from gunicorn.config import Config
from gunicorn.dirty import DirtyArbiter
from gunicorn.glogging import Logger


def main(path: str) -> None:
    config = Config()
    config.set("dirty_apps", ["tests.dirty.interop.gunicorn_apps:Echo"])
    config.set("dirty_workers", 2)
    config.set("dirty_threads", 4)
    config.set("errorlog", "-")
    arbiter = DirtyArbiter(config, Logger(config), socket_path=path)
    pid = os.fork()
    if pid == 0:
        arbiter.run()
        os._exit(0)
    os.waitpid(pid, 0)


if __name__ == "__main__":
    main(sys.argv[1])

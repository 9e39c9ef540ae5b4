# SPDX-License-Identifier: MIT
"""Child processes: one mechanism for every kind of child, which knows nothing of what they do.

================  ========================================================================
``child``         one process: spawned, with a socket and a lifeline, and surely ended
``policy``        when the next one is started; pure
``supervisor``    one life after the other by that policy; replacement, removal
================  ========================================================================

A worker's owner writes the function that runs one life, and a Supervisor calls it::

    async def run_life(life: Life) -> str:
        async with open_child([..., SOCKET, LIFELINE], name="worker 1", stop_timeout=5) as child:
            with trio.fail_after(startup_timeout):
                ...  # the first frame says that it is ready
            life.ready()
            ...  # serve until EOF; once life.draining is set, drain, then return
        return child.describe_exit()

    supervisor = Supervisor(run_life, name="worker 1")
    nursery.start_soon(supervisor.run)

The child's side is :mod:`trioserve.lifeline`.
"""

from __future__ import annotations

from trioserve.supervision.child import LIFELINE, SOCKET, ChildProcess, open_child
from trioserve.supervision.policy import RespawnHistory, RespawnPolicy
from trioserve.supervision.supervisor import Life, Supervisor

__all__ = [
    "LIFELINE",
    "SOCKET",
    "ChildProcess",
    "Life",
    "RespawnHistory",
    "RespawnPolicy",
    "Supervisor",
    "open_child",
]

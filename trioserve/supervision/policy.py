# SPDX-License-Identifier: MIT
"""When a child that ended is started again. Pure: no clock, no process, no logging.

=========================================  ====================================================
the child                                  its successor
=========================================  ====================================================
was ready for ``stable_after`` or longer   at once
was ready for less, or never               after ``initial_delay``, times ``factor`` for each such
                                           end in a row
… and that delay is ``max_delay`` by now   degraded: it is given up as broken
``max_restarts`` in ``window``, whatever   degraded
they lived
=========================================  ====================================================

Degraded is a word for people and for routing, not an end: the child is still tried every
``max_delay``, since what it needs (a database, a mended file) may come back.

By default a child that can't start is tried nine times in 51 s (0.1 s, 0.2 s … 25.6 s), then every
30 s.
"""

from __future__ import annotations

from collections import deque

import attrs

__all__ = ["RespawnHistory", "RespawnPolicy"]


@attrs.frozen(kw_only=True)
class RespawnPolicy:
    """How patient a supervisor is; see the table above.

    Attributes:
        initial_delay: Seconds before the first restart after a failure.
        max_delay: Seconds that no delay exceeds; between the tries of a degraded child.
        factor: By which the delay grows with each failure in a row.
        max_restarts: So many in ``window`` are not degraded yet, one more is.
        window: Seconds.
        stable_after: Seconds of readiness after which an end is an accident, not a failure.
    """

    initial_delay: float = attrs.field(default=0.1, validator=attrs.validators.gt(0))
    max_delay: float = attrs.field(default=30.0, validator=attrs.validators.gt(0))
    factor: float = attrs.field(default=2.0, validator=attrs.validators.ge(1))
    max_restarts: int = attrs.field(default=10, validator=attrs.validators.ge(1))
    window: float = attrs.field(default=60.0, validator=attrs.validators.gt(0))
    stable_after: float = attrs.field(default=10.0, validator=attrs.validators.ge(0))


class RespawnHistory:
    """The ends of one child's lives, so far as the policy asks for them."""

    def __init__(self, policy: RespawnPolicy) -> None:
        self._policy = policy
        # One more than are allowed: the oldest of them says whether all lie within the window.
        self._ends: deque[float] = deque(maxlen=policy.max_restarts + 1)
        self._failures = 0

    def exited(self, now: float, served: float | None) -> float | None:
        """Takes note of an end that nobody asked for.

        Args:
            now: Seconds on any clock that doesn't go back.
            served: Seconds that it was ready; None if it never was.

        Returns:
            The seconds to wait before the next start; None where the child is degraded.
        """
        policy = self._policy
        self._ends.append(now)
        stable = served is not None and served >= policy.stable_after
        self._failures = 0 if stable else self._failures + 1
        if len(self._ends) > policy.max_restarts and now - self._ends[0] <= policy.window:
            return None
        if stable:
            return 0.0
        return self._delay()

    def clear(self) -> None:
        """Forgets everything: what runs next is another program, or somebody has mended it."""
        self._ends.clear()
        self._failures = 0

    def _delay(self) -> float | None:
        policy = self._policy
        delay = policy.initial_delay
        # Not a power: after a thousand failures that would be no float any more.
        for _ in range(self._failures - 1):
            if delay >= policy.max_delay or policy.factor == 1:
                break
            delay *= policy.factor
        return delay if delay < policy.max_delay else None

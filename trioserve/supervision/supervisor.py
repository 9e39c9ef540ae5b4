# SPDX-License-Identifier: MIT
"""One child's lives, one after the other: started, replaced without a gap, removed.

Tasks: ``Supervisor.run`` decides what is started when; it starts a task for each life, which calls
the owner's ``run_life``. There can be several lives at a time: the newest one, and older ones that
are still needed (the newest is not ready yet) or drain.

::

    start ──▶ ready ──▶ ends by itself ──▶ delay (RespawnPolicy) ──▶ start
                │ replace(): the next one starts
                └──▶ drains once the next one is ready ──▶ ends

An exception of one life is logged once, with its traceback, and is its end and nobody else's.
"""

from __future__ import annotations

import logging
import math
from typing import TYPE_CHECKING

import trio

from trioserve.supervision.policy import RespawnHistory, RespawnPolicy

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

__all__ = ["Life", "Supervisor"]

_log = logging.getLogger("trioserve.error")


class Life:
    """One life of a child, for the ``run_life`` that lives it.

    Attributes:
        number: 1 for the first.
        draining: Set once this life is to finish what it has, take nothing new, and return. After
            the supervisor's ``drain_timeout`` it is cancelled.
        is_ready: Whether ``ready()`` was called; it stays so after the end.
        has_ended: Whether ``run_life`` has returned.
    """

    def __init__(self, number: int, supervisor: Supervisor) -> None:
        self._supervisor = supervisor
        self._scope = trio.CancelScope()
        self._started_at = trio.current_time()
        self._ready_at = math.nan
        self._is_end_expected = False
        self._delay = 0.0  # from its end to the next life's start
        self._replace_at = math.inf
        self.number = number
        self.draining = trio.Event()
        self.is_ready = False
        self.has_ended = False

    @property
    def is_serving(self) -> bool:
        """Ready, and neither draining nor ended."""
        return self.is_ready and not self.draining.is_set() and not self.has_ended

    def ready(self) -> None:
        """Says that it can do its work: the life before it, if it still lasts, may drain now."""
        if self.is_ready:
            return
        self.is_ready = True
        self._ready_at = trio.current_time()
        self._supervisor._life_is_ready(self)

    def expect_end(self) -> None:
        """Says that the end to come is the owner's own doing (it kills a hung worker, say).

        It is no failure then: the policy isn't asked, and the next life starts at once. For a life
        that was never ready it makes no difference.
        """
        self._is_end_expected = True

    def request_replacement(self, *, in_vain: bool = False) -> float | None:
        """Asks for the next life: once that is ready, this one drains. Twice is once.

        Args:
            in_vain: the next life won't be better, as far as can be seen: it is started ever
                later, by the policy, as if this one had failed.

        Returns:
            Seconds until the next life is started; None if that is decided already.
        """
        if self is not self._supervisor._newest or not self.is_serving:
            return None
        if self._replace_at < math.inf:
            return None
        delay = self._supervisor._delay_of_next(self) if in_vain else 0.0
        self._replace_at = trio.current_time() + delay
        self._supervisor._notify()
        return delay

    def _served(self, now: float) -> float | None:
        return now - self._ready_at if self.is_ready else None

    def _drain(self, timeout: float) -> None:
        self.draining.set()
        if not self.is_ready:  # there is nothing to finish
            self._scope.cancel()
        self._scope.deadline = min(self._scope.deadline, trio.current_time() + timeout)


class Supervisor:
    """Keeps one child alive.

    Args:
        run_life: Runs one life: starts the child, waits until it is ready, serves, and returns when
            it has ended, with a word on how (``child.describe_exit()``). It may raise whatever goes
            wrong. How long a child may take to be ready is its own business.
        name: What the log calls the child.
        policy: When it is started again.
        drain_timeout: Seconds that a life has to finish when it was replaced or removed, then it is
            cancelled.
        on_change: Called with this supervisor after a life was ready, after one ended, and when the
            child is degraded or removed. Must neither block nor raise.

    Attributes:
        drain_timeout: As given; another value holds for drains that begin from then on.
        is_degraded: The policy has given it up, and no life has been ready since.
        restarts: Lives that followed an end that nobody asked for.
        last_end: How the last such life ended, for a status; None if there was none.
    """

    def __init__(
        self,
        run_life: Callable[[Life], Awaitable[str | None]],
        *,
        name: str,
        policy: RespawnPolicy | None = None,
        drain_timeout: float = 30.0,
        on_change: Callable[[Supervisor], object] | None = None,
    ) -> None:
        self._run_life = run_life
        self._policy = policy or RespawnPolicy()
        self._history = RespawnHistory(self._policy)
        self.drain_timeout = drain_timeout
        self._on_change = on_change
        self._changed = trio.lowlevel.ParkingLot()
        self._lives: list[Life] = []
        self._newest: Life | None = None
        self._is_removed = False
        self._is_replacing = False
        #: Number of the life that gives way if it can't start; see try_replacing.
        self._trial: int | None = None
        self._kept: Life | None = None  # goes on: its successor's trial has failed
        self._count = 0
        self.name = name
        self.is_degraded = False
        self.restarts = 0
        self.last_end: str | None = None

    @property
    def is_ready(self) -> bool:
        """A life is ready and doesn't drain."""
        return any(life.is_serving for life in self._lives)

    async def run(self) -> None:
        """Starts lives until ``remove()`` is called; returns when the last one has ended.

        *Cancellation* ends all lives at once. *Errors handled here*: what ``run_life`` raises, but
        for Cancelled, KeyboardInterrupt and SystemExit.
        """
        async with trio.open_nursery() as nursery:
            while not self._is_removed:
                life, self._kept = self._kept or self._start(nursery), None
                await self._watch(life)
            for life in self._lives:
                life._drain(self.drain_timeout)

    def replace(self) -> None:
        """Starts a new life now, whatever the policy says: there is new code, or a repaired world.

        The life that serves goes on until the new one is ready; one that isn't ready yet is ended.
        """
        self._history.clear()
        self._trial = None
        self._replace()

    async def try_replacing(self) -> bool:
        """As ``replace()``, but a successor that fails is not tried again while one serves.

        Returns:
            Whether the new life serves. If not, the one before it goes on, if it can; the log has
            said why.
        """
        self._history.clear()
        number = self._trial = self._count + 1
        self._replace()
        await self._until(lambda: self._trial != number or self._is_removed)
        return any(life.number >= number and life.is_serving for life in self._lives)

    def remove(self) -> None:
        """Drains what lives and starts nothing any more. Twice is once."""
        self._is_removed = True
        self._notify()

    async def until_ready(self) -> bool:
        """Waits until a life serves (True), or the child is degraded or removed (False)."""
        await self._until(lambda: self.is_ready or self.is_degraded or self._is_removed)
        return self.is_ready

    async def until_settled(self) -> bool:
        """Waits until the newest life serves (True), or is given up or removed (False).

        After ``replace()`` that is the new one, whatever the old one does.
        """

        def serves() -> bool:
            return not self._is_replacing and self._newest is not None and self._newest.is_serving

        def is_given_up() -> bool:
            newest = self._newest
            return self.is_degraded and not self._is_replacing and (not newest or newest.has_ended)

        await self._until(lambda: serves() or is_given_up() or self._is_removed)
        return serves()

    # -- one life --------------------------------------------------------------------------

    def _start(self, nursery: trio.Nursery) -> Life:
        self._is_replacing = False
        self._count += 1
        life = self._newest = Life(self._count, self)
        self._lives.append(life)
        nursery.start_soon(self._live, life, name=f"{self.name}, life {life.number}")
        return life

    async def _watch(self, life: Life) -> None:
        """Returns when it is time for the life after this one."""
        await self._until(lambda: life.is_ready or life.has_ended or self._is_interrupted)
        if life.has_ended and not life.is_ready and self._is_on_trial(life):
            self._kept = next((older for older in self._lives if older.is_serving), None)
            self._end_trial(life)
            if self._kept is not None:
                self._newest = self._kept
                return
        if life.is_serving:
            self._end_trial(life)
            for older in self._lives:
                if older is not life:
                    older._drain(self.drain_timeout)
            while not (life.has_ended or self._is_interrupted):
                if trio.current_time() >= life._replace_at:
                    return
                with trio.move_on_at(life._replace_at):
                    await self._changed.park()
        if not life.is_ready and not life.has_ended:
            life._drain(0)
        if life.has_ended:
            with trio.move_on_after(life._delay):
                await self._until(lambda: self._is_interrupted)

    async def _live(self, life: Life) -> None:
        how: str | None = None
        error: BaseException | None = None
        try:
            with life._scope:
                how = await self._run_life(life)
            if life._scope.cancelled_caught:
                how = "it was cancelled"
        except Exception as exc:  # the border of one life
            error = exc
        except BaseExceptionGroup as group:
            passing, error = group.split((trio.Cancelled, KeyboardInterrupt, SystemExit))
            if passing is not None:
                if error is not None:
                    _log.error("%s: an error beside a cancellation", self.name, exc_info=error)
                raise passing from None
        self._life_has_ended(life, how or "it said nothing of how", error)

    def _is_on_trial(self, life: Life) -> bool:
        return self._trial is not None and life.number >= self._trial

    def _end_trial(self, life: Life) -> None:
        if self._is_on_trial(life):
            self._trial = None
            self._notify()

    # -- what lives report -----------------------------------------------------------------

    def _life_is_ready(self, life: Life) -> None:
        took = life._ready_at - life._started_at
        _log.info("%s is ready, %.1f s after its start", self.name, took)
        self.is_degraded = False
        self._notify()

    def _delay_of_next(self, life: Life) -> float:
        """Takes note of a life that is as good as failed."""
        delay = self._history.exited(trio.current_time(), None)
        return self._policy.max_delay if delay is None else delay

    def _life_has_ended(self, life: Life, how: str, error: BaseException | None) -> None:
        life.has_ended = True
        self._lives.remove(life)
        if life.draining.is_set():
            self._log_end(life, how, error, "it had been asked to", level=logging.INFO)
        elif self._is_removed:
            self._log_end(life, how, error, "nothing follows it", level=logging.WARNING)
        elif life._is_end_expected and life.is_ready:
            self._log_end(life, how, error, "the next one is started at once", level=logging.INFO)
        else:
            self._life_has_failed(life, how, error)
        self._notify()

    def _life_has_failed(self, life: Life, how: str, error: BaseException | None) -> None:
        if self._is_on_trial(life) and not life.is_ready and self.is_ready:
            self.last_end = _in_words(how, error)
            self._log_end(life, how, error, "the one before it goes on", level=logging.ERROR)
            return
        now = trio.current_time()
        delay = self._history.exited(now, life._served(now))
        life._delay = self._policy.max_delay if delay is None else delay
        self.restarts += 1
        self.last_end = _in_words(how, error)
        if life is not self._newest:
            then = "its successor is being started already"
        elif life._delay:
            then = f"it is started again in {life._delay:g} s"
        else:
            then = "it is started again at once"
        self._log_end(life, how, error, then, level=logging.WARNING)
        if delay is None:
            self.is_degraded = True
            _log.error(
                "%s is degraded: it ends again and again (%d times so far, see above for why). "
                "It is tried every %g s, and at once after a reload",
                self.name,
                self.restarts,
                self._policy.max_delay,
            )

    def _log_end(
        self, life: Life, how: str, error: BaseException | None, then: str, *, level: int
    ) -> None:
        lived = trio.current_time() - life._started_at
        if error is None:
            _log.log(level, "%s ended %.1f s after its start (%s); %s", self.name, lived, how, then)
        else:
            text = "%s failed %.1f s after its start; %s"
            _log.error(text, self.name, lived, then, exc_info=error)

    # -- what run() waits for --------------------------------------------------------------

    @property
    def _is_interrupted(self) -> bool:
        return self._is_replacing or self._is_removed

    def _replace(self) -> None:
        self._is_replacing = True
        self._notify()

    def _notify(self) -> None:
        self._changed.unpark_all()
        if self._on_change is not None:
            self._on_change(self)

    async def _until(self, condition: Callable[[], bool]) -> None:
        while not condition():
            await self._changed.park()


def _in_words(how: str, error: BaseException | None) -> str:
    return how if error is None else f"{type(error).__name__}: {error}"

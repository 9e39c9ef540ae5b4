# SPDX-License-Identifier: MIT
from __future__ import annotations

import pytest
import trio

from trioserve.dirty.jobs import pass_cancellation


async def test_a_cancellation_reaches_its_scope_out_of_a_nursery_and_alone(
    autojump_clock: trio.testing.MockClock,
) -> None:
    async def alone() -> None:
        await trio.sleep_forever()

    async def out_of_a_nursery() -> None:
        async with trio.open_nursery() as nursery:
            nursery.start_soon(trio.sleep_forever)
            nursery.start_soon(trio.sleep_forever)

    for wait in (alone, out_of_a_nursery):
        after = False
        with trio.move_on_after(1) as scope:
            try:
                await wait()
            except BaseException as exc:
                pass_cancellation(exc)
            after = True
        assert scope.cancelled_caught
        assert not after


@pytest.mark.parametrize(
    "exc", [ValueError(), SystemExit(), BaseExceptionGroup("", [ValueError(), SystemExit()])]
)
def test_what_is_no_cancellation_stays_at_the_border(exc: BaseException) -> None:
    pass_cancellation(exc)

# SPDX-License-Identifier: MIT
"""The limit on open connections, without sockets."""

from __future__ import annotations

import logging

import pytest
import trio
from trio.testing import wait_all_tasks_blocked

from trioserve.listeners import ConnectionGate


def test_a_gate_without_limit_is_never_full() -> None:
    gate = ConnectionGate(0)
    for _ in range(1000):
        gate.enter()
    assert gate.open == 1000
    assert not gate.full


def test_a_gate_is_full_at_its_limit_and_lets_nobody_past_it() -> None:
    gate = ConnectionGate(2)
    found_full = []
    for _ in range(2):
        found_full.append(gate.full)
        gate.enter()
    assert found_full == [False, False]
    assert gate.full
    with pytest.raises(RuntimeError, match="all 2 connections"):
        gate.enter()
    assert repr(gate) == "<ConnectionGate 2 open, max_connections 2>"


def test_leaving_without_having_entered_is_an_error() -> None:
    with pytest.raises(RuntimeError, match="never entered"):
        ConnectionGate(2).leave()


def test_a_negative_limit_is_an_error() -> None:
    with pytest.raises(ValueError, match="not -1"):
        ConnectionGate(-1)


async def test_everybody_who_waits_for_room_wakes_when_one_leaves() -> None:
    gate = ConnectionGate(1)
    gate.enter()
    woken: list[int] = []

    async def wait(number: int) -> None:
        await gate.wait_for_room()
        woken.append(number)

    async with trio.open_nursery() as nursery:
        nursery.start_soon(wait, 1)
        nursery.start_soon(wait, 2)
        await wait_all_tasks_blocked()
        assert woken == []
        gate.leave()
    assert sorted(woken) == [1, 2]


async def test_who_wakes_to_a_gate_that_is_full_again_waits_on() -> None:
    gate = ConnectionGate(1)
    gate.enter()
    async with trio.open_nursery() as nursery:
        nursery.start_soon(gate.wait_for_room)
        await wait_all_tasks_blocked()
        gate.leave()
        gate.enter()
        await wait_all_tasks_blocked()
        assert len(nursery.child_tasks) == 1
        gate.leave()


async def test_being_full_is_said_once_a_period_and_hovering_at_the_limit_is_one_period(
    error_log: list[logging.LogRecord],
    autojump_clock: trio.testing.MockClock,
) -> None:
    gate = ConnectionGate(20)

    async def find_it_full() -> None:
        while not gate.full:
            gate.enter()
        with trio.move_on_after(0):
            await gate.wait_for_room()

    for _ in range(5):
        await find_it_full()
        gate.leave()
    assert [record.getMessage() for record in error_log] == [
        "max_connections (20) is reached: no connection is accepted until one closes"
    ]
    assert error_log[0].levelno == logging.WARNING
    gate.leave()
    await find_it_full()
    assert len(error_log) == 1  # not twice a minute, or a small limit would flood the log
    await trio.sleep(60)
    gate.leave()
    gate.leave()
    await find_it_full()
    assert len(error_log) == 2


async def test_a_cancelled_wait_leaves_nothing_behind() -> None:
    gate = ConnectionGate(1)
    gate.enter()
    with trio.move_on_after(0) as scope:
        await gate.wait_for_room()
    assert scope.cancelled_caught
    gate.leave()
    assert gate.open == 0
    await gate.wait_for_room()

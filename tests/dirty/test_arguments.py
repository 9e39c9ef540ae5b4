# SPDX-License-Identifier: MIT
"""What callers may give: told at once where they give it, whichever client they use."""

from __future__ import annotations

import math
from decimal import Decimal
from functools import partial
from typing import TYPE_CHECKING, Any

import pytest
import trio

from tests.dirty.real_pool import APPS, open_pool, until
from trioserve.dirty import (
    BlockingDirtyClient,
    DirtyProtocolError,
    StashError,
    open_dirty_client,
)
from trioserve.dirty.arguments import checked_timeout, manage_fields
from trioserve.dirty.stash_direct import DirectTransport
from trioserve.dirty.stash_operations import MISSING
from trioserve.dirty.tables import StashTables

if TYPE_CHECKING:
    from trioserve.dirty import DirtyClient

WORK = f"{APPS}:Work"

TIMEOUTS = {
    0: math.inf,
    1: 1.0,
    2.5: 2.5,
    1e11: 1e11,
    1e300: 1e300,
    10**400: math.inf,
    math.inf: math.inf,
    Decimal("1.5"): 1.5,
}
BAD_TIMEOUTS: list[tuple[Any, type[Exception], str]] = [
    (-1, ValueError, "timeout must be 0 (none) or more seconds, got -1"),
    (-0.5, ValueError, "timeout must be 0 (none) or more seconds, got -0.5"),
    (math.nan, ValueError, "timeout must be 0 (none) or more seconds, got nan"),
    (-math.inf, ValueError, "timeout must be 0 (none) or more seconds, got -inf"),
    (-(10**5000), ValueError, "timeout must be 0 (none) or more seconds, got <int>"),
    ("5", TypeError, "timeout must be a number of seconds, got '5'"),
    (True, TypeError, "timeout must be a number of seconds, got True"),
    ([1], TypeError, "timeout must be a number of seconds, got [1]"),
    (1j, TypeError, "timeout must be a number of seconds, got 1j"),
]


@pytest.mark.parametrize("timeout", TIMEOUTS, ids=range(len(TIMEOUTS)))
def test_a_timeout_is_a_number_of_seconds_and_0_is_none(timeout: Any) -> None:
    assert checked_timeout(timeout) == TIMEOUTS[timeout]


@pytest.mark.parametrize(
    ("timeout", "error", "message"), BAD_TIMEOUTS, ids=range(len(BAD_TIMEOUTS))
)
async def test_any_other_timeout_is_refused_by_clients_and_by_calls(
    timeout: Any, error: type[Exception], message: str
) -> None:
    async def open_client() -> None:
        async with open_dirty_client("/nowhere", timeout=timeout):
            pass

    for attempt in (open_client, partial(execute_with, timeout), partial(stream_with, timeout)):
        with pytest.raises(error) as caught:
            await attempt()
        assert str(caught.value) == message
    for blocking in (
        lambda: BlockingDirtyClient("/nowhere", timeout=timeout),
        lambda: BlockingDirtyClient("/nowhere").execute("a:A", "b", timeout=timeout),
        lambda: BlockingDirtyClient("/nowhere").stream("a:A", "b", timeout=timeout),
    ):
        with pytest.raises(error) as caught:
            await trio.to_thread.run_sync(blocking)
        assert str(caught.value) == message


async def execute_with(timeout: Any) -> None:
    async with open_dirty_client("/nowhere") as client:
        await client.execute("a:A", "b", timeout=timeout)


async def stream_with(timeout: Any) -> None:
    async with open_dirty_client("/nowhere") as client:
        client.stream("a:A", "b", timeout=timeout)


@pytest.mark.parametrize(
    ("operation", "count", "error", "message"),
    [
        ("more", 1, ValueError, 'operation must be "add" or "remove", got \'more\''),
        ([], 1, ValueError, 'operation must be "add" or "remove", got []'),
        ("add", 0, ValueError, "count must be 1 or more, got 0"),
        ("add", -(10**5000), ValueError, "count must be 1 or more, got <int>"),
        ("remove", 1.0, TypeError, "count must be an int, got 1.0"),
        ("remove", True, TypeError, "count must be an int, got True"),
    ],
    ids=range(6),
)
def test_what_can_be_managed(
    operation: Any, count: Any, error: type[Exception], message: str
) -> None:
    with pytest.raises(error) as caught:
        manage_fields(operation, count)
    assert str(caught.value) == message
    assert manage_fields("add", 2) == (1, 2)
    assert manage_fields("remove", 1) == (2, 1)


@pytest.mark.parametrize(
    ("route", "message"),
    [
        (([], "pid"), "app_path must be a str, not list"),
        ((5, "pid"), "app_path must be a str, not int"),
        (("a:A", {}), "action must be a str, not dict"),
        ((None, None), "app_path must be a str, not NoneType"),
        (("a:A", "\udc80"), "action"),
    ],
)
def test_a_route_is_of_two_strs(route: tuple[Any, Any], message: str) -> None:
    with pytest.raises(DirtyProtocolError, match=message):
        BlockingDirtyClient("/nowhere").execute(*route)


STASH: list[tuple[str, tuple[Any, ...], dict[str, Any], str]] = [
    ("put", (5, "k", 1), {}, "a table's name is a str, not int"),
    ("put", ("t", None, 1), {}, "a key is a str, a number or bytes, not NoneType"),
    ("put", ("t", [1], 1), {}, "a key is a str, a number or bytes, not list"),
    ("put", ("t", math.nan, 1), {}, "a key can't be NaN"),
    ("put", ("t", "k", 1), {"ttl": 10**400}, "a ttl is in seconds, a number above 0"),
    ("put", ("t", "k", 1), {"ttl": -(10**5000)}, "above 0 that a float can hold, not <int>"),
    ("put", ("t", "k", 1), {"ttl": "5"}, "a ttl is in seconds"),
    ("put", ("t", "k", 1), {"ttl": True}, "a ttl is in seconds"),
    ("get", ("t", None), {}, "a key is a str, a number or bytes, not NoneType"),
    ("incr", ("t", None), {}, "a key is a str, a number or bytes, not NoneType"),
    ("setdefault", ("t", None), {}, "a key is a str, a number or bytes, not NoneType"),
    ("compare_and_swap", ("t", None, MISSING, 1), {}, "a key is a str, a number or bytes"),
    ("expire", ("t", None, 5), {}, "a key is a str, a number or bytes, not NoneType"),
    ("expire", ("t", "k", 0), {}, "a ttl is in seconds"),
    ("update", ("t", [1, 2]), {}, "items is a mapping of keys to values, not list"),
    ("keys", (None,), {}, "a table's name is a str, not NoneType"),
]


@pytest.mark.slow  # real processes
async def test_a_wrong_argument_is_the_same_error_everywhere_and_ends_no_other_call() -> None:
    async with (
        open_pool(workers=1) as pool,
        open_dirty_client(pool.path) as remote,
        trio.open_nursery() as nursery,
    ):
        results: list[float] = []

        async def innocent(client: DirtyClient) -> None:
            results.append(await client.execute(WORK, "asleep", 1.0))

        nursery.start_soon(innocent, remote)
        with BlockingDirtyClient(pool.path) as blocking:
            for name, args, options, message in STASH:
                for client in (pool.client, remote):
                    with pytest.raises(StashError) as caught:
                        await getattr(client.stash, name)(*args, **options)
                    assert message in str(caught.value)
                in_thread = partial(getattr(blocking.stash, name), *args, **options)
                with pytest.raises(StashError) as caught:
                    await trio.to_thread.run_sync(in_thread)
                assert message in str(caught.value)
        for client in (pool.client, remote):
            with pytest.raises(ValueError, match="count must be"):
                await client.manage("add", -(10**5000))
        await until(lambda: results == [1.0])


@pytest.mark.slow  # real processes
async def test_calls_may_have_any_time_there_is() -> None:
    async with open_pool(workers=1) as pool:
        for timeout in (0, 1e11, 1e300, 10**400):
            async with open_dirty_client(pool.path, timeout=timeout) as remote:
                assert await remote.execute(WORK, "add", 1, 2) == 3
            with BlockingDirtyClient(pool.path, timeout=timeout) as blocking:
                for limit in (None, timeout):
                    call = partial(blocking.execute, WORK, "add", 1, 2, timeout=limit)
                    assert await trio.to_thread.run_sync(call) == 3


def test_tables_in_this_process_say_the_same() -> None:
    from trioserve.dirty.stash import StashClient

    client = StashClient(DirectTransport(StashTables()))
    for name, args, options, message in STASH:
        with pytest.raises(StashError) as caught:
            getattr(client, name)(*args, **options)
        assert message in str(caught.value)

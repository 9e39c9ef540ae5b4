# SPDX-License-Identifier: MIT
"""What an old server tells a new one; the upgrade itself is tests/test_workers_command.py's."""

from __future__ import annotations

import json
import os
import socket

import pytest
import trio

from trioserve.errors import ConfigError
from trioserve.upgrading import UPGRADE_VARIABLE, Upgrade


async def test_a_server_that_nobody_went_before_has_nothing_to_wait_for() -> None:
    upgrade = Upgrade.from_environment({})
    assert (upgrade.sockets, upgrade.predecessor, upgrade.passed_on) == ({}, None, ())
    upgrade.complete()
    await upgrade.until_alone()


async def test_the_old_server_is_told_and_waited_for() -> None:
    ours, theirs = socket.socketpair()
    told = {
        "sockets": [["127.0.0.1:80", "http", 7], ["fd://3", "https", 8], ["fd://3", "https", 9]],
        "channel": os.dup(theirs.fileno()),
        "pid": 4711,
    }
    theirs.close()
    environ = {UPGRADE_VARIABLE: json.dumps(told), "HOME": "/"}
    upgrade = Upgrade.from_environment(environ)
    assert environ == {"HOME": "/"}
    assert upgrade.sockets == {("127.0.0.1:80", "http"): [7], ("fd://3", "https"): [8, 9]}
    assert upgrade.predecessor == 4711
    assert upgrade.passed_on == ("fd://3",)
    upgrade.complete()
    assert ours.recv(64) == b"ready"
    async with trio.open_nursery() as nursery:
        for _ in range(3):  # as many chores as there may be
            nursery.start_soon(upgrade.until_alone)
        await trio.testing.wait_all_tasks_blocked()
        ours.close()
    upgrade.complete()  # it has gone: that is no error
    assert upgrade._channel is not None
    upgrade._channel.close()  # a server keeps it to its end


@pytest.mark.parametrize("text", ["", "1", "{}", '{"sockets": [], "channel": "x", "pid": 1}'])
def test_what_no_server_has_written_is_an_error_that_says_what_the_variable_is(text: str) -> None:
    with pytest.raises(ConfigError, match="is what an old server tells a new one at SIGUSR2"):
        Upgrade.from_environment({UPGRADE_VARIABLE: text})

# SPDX-License-Identifier: MIT
"""Every case of the corpus, with each parser, in each way that its bytes can arrive.

A test is a topic. Its cases run at the same time, each on its own connection to a server in
this process, and the message of a failure has a line for each case that went wrong. One server
serves all cases of a test that have the same settings.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Literal, TypeAlias

import pytest
import trio

import trioserve
from tests.variants import variants

from .client import Client
from .conversation import MODES, Conversation, Mode, fits
from .corpus import TOPICS
from .echo import Echo

if TYPE_CHECKING:
    from collections.abc import Mapping

    from .corpus.case import Case

Backend: TypeAlias = Literal["httptools", "h11"]

BACKENDS: tuple[Backend, ...] = ("httptools", "h11")
CASE_TIMEOUT = 5


def _cases(topic: str, mode: Mode) -> list[Case]:
    return [case for case in TOPICS[topic] if fits(case, mode)]


@pytest.mark.parametrize("backend", variants(BACKENDS, fast=["httptools"]))
@pytest.mark.parametrize(
    ("topic", "mode"),
    [
        pytest.param(topic, mode, marks=pytest.mark.slow if mode == "pieces" else ())
        for topic in TOPICS
        for mode in MODES
        if _cases(topic, mode)
    ],
)
async def test_requests_get_the_replies_and_the_fate_that_the_rfc_demands(
    topic: str, mode: Mode, backend: Backend
) -> None:
    faults: list[str] = []
    running: dict[frozenset[tuple[str, int]], tuple[int, Echo]] = {}

    async def run(case: Case, port: int, echo: Echo) -> None:
        faults.extend([f"{case.name}: {fault}" for fault in await _run(case, mode, port, echo)])

    async with trio.open_nursery() as servers:
        async with trio.open_nursery() as connections:
            for case in _cases(topic, mode):
                settings = frozenset(case.settings.items())
                if settings not in running:
                    running[settings] = await _start(servers, backend, case.settings)
                connections.start_soon(run, case, *running[settings])
        servers.cancel_scope.cancel()

    if faults:
        raise AssertionError("\n".join(["", *sorted(faults)]))


async def _start(
    servers: trio.Nursery, backend: Backend, settings: Mapping[str, int]
) -> tuple[int, Echo]:
    """Start a server; its port and its application."""
    echo = Echo()
    config = trioserve.Config(
        bind=["127.0.0.1:0"], http=backend, access_log=False, lifespan="off"
    ).with_changes(**settings)
    addresses = await servers.start(trioserve.serve, echo, config)
    return addresses[0].port, echo


async def _run(case: Case, mode: Mode, port: int, echo: Echo) -> list[str]:
    """Hold one conversation; what was wrong with it, a line each."""
    conversation = Conversation(case, mode, echo)
    with trio.move_on_after(CASE_TIMEOUT) as scope:
        async with await trio.open_tcp_stream("127.0.0.1", port) as stream:
            await conversation.hold(Client(stream))
    if scope.cancelled_caught:
        return [*conversation.faults, f"no end within {CASE_TIMEOUT} s; {conversation.progress}"]
    return conversation.faults


CASES = [case for cases in TOPICS.values() for case in cases]


def test_the_corpus_is_as_large_as_promised() -> None:
    assert len(CASES) >= 200


def test_names_are_unique_and_begin_with_an_rfc_and_a_section() -> None:
    names = [case.name for case in CASES]
    assert sorted(set(names)) == sorted(names)
    wrong = [name for name in names if not re.match(r"(9110|9112|3986)-(\d+|C)(\.\d+)* \S", name)]
    assert not wrong


def test_a_refusal_is_the_last_reply_and_closes() -> None:
    for case in CASES:
        for reply in case.expect:
            if min(reply.statuses) >= 400:
                assert (reply is case.expect[-1], case.fate) == (True, "close"), case.name

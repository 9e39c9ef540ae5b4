# SPDX-License-Identifier: MIT
"""The tables of docs/asgi.md say what the code does. Its programs are run by tests/test_docs.py."""

from __future__ import annotations

import re
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
import trio
import trio.testing

from trioserve.asgi.exchange import HttpExchange
from trioserve.asgi.extension import TrioExtension

from .harness import ok

if TYPE_CHECKING:
    from typing import Any

    from trioserve.types import Receive, Scope, Send

    from .conftest import Serving

TEXT = (Path(__file__).parents[2] / "docs" / "asgi.md").read_text("utf-8")
SECTIONS = dict(re.findall(r"^##+ (.*)\n((?:(?!##).*\n)*)", TEXT, re.MULTILINE))


def table(section: str) -> dict[str, str]:
    rows = re.findall(r"^\| (.+?) \| (.*) \|$", SECTIONS[section], re.MULTILINE)
    return {key.strip("`"): rest for key, rest in rows[1:]}


def test_the_order_of_messages_is_the_exchanges() -> None:
    documented = {
        state: re.findall(r"`([\w.]+)`", legal) for state, legal in table("Sending").items()
    }
    rows = {name: sorted(row) for name, row in HttpExchange._ROWS.items()}
    del rows["after the client had left"]
    assert documented == rows


async def test_the_keys_and_extensions_are_those_of_a_scope(serving: Serving) -> None:
    scopes: list[Scope] = []

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        scopes.append(scope)
        await ok(send)

    async with serving(app) as server:
        await server.request()
    (scope,) = scopes
    documented = table("The scope of a request")
    assert list(documented) == list(scope)
    for key, rest in documented.items():
        assert type(scope[key]).__name__ in rest.split(" | ")[0]
    elsewhere = {"tls", "http.response.priority"}  # connections of other kinds
    extensions = set(table("Extensions")) - elsewhere
    if server.kind != "epoll":
        extensions.remove("http.response.zerocopysend")
    assert set(scope["extensions"]) == extensions


def test_the_own_extensions_keys_are_all_there() -> None:
    own: Any = TrioExtension(trio.CancelScope(), None)  # type: ignore[arg-type]
    assert list(table("`trioserve`: the scope and the nursery")) == list(own)


@pytest.mark.parametrize("test", ["test_an_hour", "test_a_client_that_leaves"])
def test_the_tests_that_it_shows_pass(test: str) -> None:
    (block,) = re.findall(
        r"^```python\n(.*?)^```$", SECTIONS["Testing an application"], re.DOTALL | re.MULTILINE
    )
    namespace: dict[str, Any] = {}
    exec(block, namespace)
    clock = trio.testing.MockClock(autojump_threshold=0)
    trio.run(namespace[test], clock, clock=clock)

# SPDX-License-Identifier: MIT
"""The scope of a request: every key, its type, and that no two requests share one."""

from __future__ import annotations

import copy
import socket
from typing import TYPE_CHECKING, Any

import pytest
import trio

import trioserve
from trioserve.testing import open_test_server

from .harness import get, ok

if TYPE_CHECKING:
    from pathlib import Path

    from trioserve.types import Receive, Scope, Send

    from .conftest import Serving


class Recorder:
    """An application that keeps its scopes and then spoils them."""

    def __init__(self, *, spoil: bool = False) -> None:
        self.scopes: list[Scope] = []
        self._spoil = spoil

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        self.scopes.append({**copy.deepcopy(scope), "extensions": dict(scope["extensions"])})
        if self._spoil:
            for key, value in list(scope.items()):
                if isinstance(value, dict):
                    for inner in value.values():
                        if isinstance(inner, dict):
                            inner["spoilt"] = True
                    value["spoilt"] = True
                elif isinstance(value, list):
                    value.append((b"spoilt", b"1"))
                else:
                    scope[key] = "spoilt"
            scope["spoilt"] = True
        await ok(send)


async def scope_of(in_memory: Serving, request: bytes, **options: Any) -> Scope:
    app = Recorder()
    async with in_memory(app, **options) as server:
        client = await server.connect()
        await client.send(request)
        await client.response()
    (scope,) = app.scopes
    return scope


async def test_every_key_has_the_value_and_type_of_the_specification(in_memory: Serving) -> None:
    request = get("/a%20b/%C3%A4?x=%20y&z", "X-Two: 2", "X-two:  3 ", "Cookie: a=b", method="PATCH")
    scope = await scope_of(in_memory, request)
    extensions = scope.pop("extensions")
    assert scope == {
        "type": "http",
        "asgi": {"version": "3.0", "spec_version": "2.5"},
        "http_version": "1.1",
        "method": "PATCH",
        "scheme": "http",
        "path": "/a b/ä",
        "raw_path": b"/a%20b/%C3%A4",
        "query_string": b"x=%20y&z",
        "root_path": "",
        "headers": [
            (b"host", b"test"),
            (b"x-two", b"2"),
            (b"x-two", b"3"),
            (b"cookie", b"a=b"),
        ],
        "client": ("testclient", 50000),
        "server": ("testserver", 80),
        "state": {},
    }
    for key in ("method", "scheme", "path", "http_version", "root_path"):
        assert type(scope[key]) is str
    for key in ("raw_path", "query_string"):
        assert type(scope[key]) is bytes
    for name, value in scope["headers"]:
        assert type(name) is type(value) is bytes
    assert set(extensions) == {
        "trioserve",
        "http.response.pathsend",
        "http.response.trailers",
        "http.response.early_hint",
    }


async def test_http_1_0_has_no_trailers_and_no_early_hints(in_memory: Serving) -> None:
    scope = await scope_of(in_memory, get(version="1.0"))
    assert scope["http_version"] == "1.0"
    assert set(scope["extensions"]) == {"trioserve", "http.response.pathsend"}


async def test_zero_copy_is_advertised_where_the_kernel_can(serving: Serving) -> None:
    app = Recorder()
    async with serving(app) as server:
        await server.request()
    advertised = "http.response.zerocopysend" in app.scopes[0]["extensions"]
    assert advertised == (server.kind == "epoll")


@pytest.mark.parametrize(
    ("target", "path", "raw_path", "query"),
    [
        ("/", "/", b"/", b""),
        ("/?", "/", b"/", b""),
        ("/??a", "/", b"/", b"?a"),
        ("/a?b?c", "/a", b"/a", b"b?c"),
        ("//a//", "//a//", b"//a//", b""),
        ("/a/../b/.", "/a/../b/.", b"/a/../b/.", b""),
        ("/%2Fa%2fb", "//a/b", b"/%2Fa%2fb", b""),
        ("/a+b", "/a+b", b"/a+b", b""),
        ("/%25", "/%", b"/%25", b""),
        ("/%2525", "/%25", b"/%2525", b""),
        ("/%", "/%", b"/%", b""),
        ("/%zz", "/%zz", b"/%zz", b""),
        ("/%ff", "/\ufffd", b"/%ff", b""),
        ("/%E2%82%AC", "/€", b"/%E2%82%AC", b""),
        ("/a%3Fb?c", "/a?b", b"/a%3Fb", b"c"),
        ("/a%23b", "/a#b", b"/a%23b", b""),
        ("http://test/a%20b?c", "/a b", b"/a%20b", b"c"),
        ("http://test", "/", b"/", b""),
        ("http://test?c", "/", b"/", b"c"),
    ],
)
async def test_a_target_is_decoded_once_and_kept_raw(
    target: str, path: str, raw_path: bytes, query: bytes, in_memory: Serving
) -> None:
    scope = await scope_of(in_memory, get(target))
    assert (scope["path"], scope["raw_path"], scope["query_string"]) == (path, raw_path, query)


async def test_options_of_the_whole_server_has_an_asterisk_for_its_path(in_memory: Serving) -> None:
    scope = await scope_of(in_memory, get("*", method="OPTIONS"))
    assert (scope["path"], scope["raw_path"]) == ("*", b"*")


async def test_an_own_method_stays_as_it_is(in_memory: Serving) -> None:
    assert (await scope_of(in_memory, get(method="purge")))["method"] == "purge"


async def test_root_path_begins_the_path(in_memory: Serving) -> None:
    # As uvicorn has it since 0.26, and Starlette's get_route_path() expects it.
    scope = await scope_of(in_memory, get("/a%20b?c"), root_path="/mount")
    assert scope["root_path"] == "/mount"
    assert scope["path"] == "/mount/a b"
    assert scope["raw_path"] == b"/mount/a%20b"


async def test_a_request_leaves_nothing_in_the_scope_of_the_next(serving: Serving) -> None:
    app = Recorder(spoil=True)
    async with serving(app) as server:
        client = await server.connect()
        for _ in range(3):  # the very same head, which isn't parsed again
            await client.request("/same", "X-One: 1")
        await client.request("/other", "X-One: 1")
        await server.request("/same", "X-One: 1")
    first = app.scopes[0]
    assert "spoilt" not in repr({**first, "extensions": {}})
    for scope in app.scopes[1:]:
        for key in set(first) - {"path", "raw_path", "client", "extensions"}:
            assert scope[key] == first[key], key
        assert sorted(scope["extensions"]) == sorted(first["extensions"])
        for extension in scope["extensions"].values():
            assert "spoilt" not in extension
        assert set(scope) == set(first)


async def test_the_peers_of_an_ipv4_connection_are_pairs(serving: Serving) -> None:
    app = Recorder()
    async with serving(app) as server:
        client = await server.connect()
        await client.request()
        if not isinstance(client.stream, trio.SocketStream):
            return
        assert app.scopes[0]["client"] == client.stream.socket.getsockname()
        assert app.scopes[0]["server"] == client.stream.socket.getpeername()


async def test_the_peers_of_an_ipv6_connection_are_pairs_too() -> None:
    app = Recorder()
    async with trio.open_nursery() as nursery:
        try:
            config = trioserve.Config(bind=["[::1]:0"], lifespan="off", access_log=False)
            (address,) = await nursery.start(trioserve.serve, app, config)
        except* trioserve.BindError:
            pytest.skip("there is no IPv6 here")
        async with await trio.open_tcp_stream("::1", address.port) as stream:
            await stream.send_all(get())
            await stream.receive_some()
            port = stream.socket.getsockname()[1]
        nursery.cancel_scope.cancel()
    assert app.scopes[0]["client"] == ("::1", port)
    assert app.scopes[0]["server"] == ("::1", address.port)


async def test_a_unix_socket_has_no_client_and_its_path_for_a_server(tmp_path: Path) -> None:
    app = Recorder()
    path = tmp_path / "socket"
    async with trio.open_nursery() as nursery:
        config = trioserve.Config(bind=[f"unix:{path}"], lifespan="off", access_log=False)
        await nursery.start(trioserve.serve, app, config)
        async with await trio.open_unix_socket(path) as stream:
            await stream.send_all(get())
            assert (await stream.receive_some()).startswith(b"HTTP/1.1 200 ")
        nursery.cancel_scope.cancel()
    assert app.scopes[0]["client"] is None
    assert app.scopes[0]["server"] == (str(path), None)


async def test_any_stream_may_be_served_with_peers_of_its_own(
    autojump_clock: trio.abc.Clock,
) -> None:
    app = Recorder()
    ours, theirs = socket.socketpair()
    async with open_test_server(app, lifespan="off") as server:
        stream = trio.SocketStream(trio.socket.from_stdlib_socket(theirs))
        server.server.accept_stream(stream, scheme="https", client=None, server=("h", 443))
        ours.sendall(get())
        assert (await trio.to_thread.run_sync(ours.recv, 100)).startswith(b"HTTP/1.1 200 ")
        ours.close()
    scope = app.scopes[0]
    assert (scope["scheme"], scope["client"], scope["server"]) == ("https", None, ("h", 443))

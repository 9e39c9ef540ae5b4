# SPDX-License-Identifier: MIT
"""A whole server that speaks TLS, over real sockets: what clients get, and what they leave."""

from __future__ import annotations

import contextlib
import json
import random
import socket
import ssl
from typing import TYPE_CHECKING, Any

import pytest
import trio
import trio.testing
from trio.testing import wait_all_tasks_blocked

import trioserve
from trioserve.config import Config
from trioserve.errors import ConfigError
from trioserve.server import open_server

from .server_clients import GET, LAST, app, ask_once, dial, nothing_left, start
from .tls.authority import (
    authority,
    client_context,
    contexts,
    issue,
    names_of,
    usual_files,
    write_certificate,
)
from .tls.client import TlsClientStream
from .transports.links import reset_on_close, tcp_pair

if TYPE_CHECKING:
    from collections.abc import AsyncIterator
    from pathlib import Path

    from trioserve.addresses import BoundAddress
    from trioserve.types import ASGIApp, Receive, Scope, Send

    Client = trio.SSLStream[trio.SocketStream]


@pytest.fixture
def clock() -> trio.abc.Clock:
    """Virtual time over real sockets, as in tests/transports/links.py."""
    return trio.testing.MockClock(autojump_threshold=0.02)


async def start_tls(nursery: trio.Nursery, app: ASGIApp = app, **options: Any) -> BoundAddress:
    certfile, keyfile = usual_files()
    return await start(nursery, app, **{"certfile": certfile, "keyfile": keyfile, **options})


async def dial_tls(
    address: BoundAddress, name: str | None = "localhost", context: ssl.SSLContext | None = None
) -> Client:
    client: Client = trio.SSLStream(
        await dial(address),
        context or client_context(),
        server_hostname=name,
        https_compatible=True,
    )
    await client.do_handshake()
    return client


async def converse(client: trio.abc.Stream, request: bytes = GET) -> bytes:
    await client.send_all(request)
    return bytes(await client.receive_some(65536))


@contextlib.asynccontextmanager
async def serving(app: ASGIApp = app, **options: Any) -> AsyncIterator[BoundAddress]:
    """A server for the block, cancelled after it; nothing is left of it then."""
    async with nothing_left(), trio.open_nursery() as nursery:
        yield await start_tls(nursery, app, **options)
        nursery.cancel_scope.cancel()


async def test_requests_are_answered_on_one_connection() -> None:
    async with serving() as address:
        assert address.url.startswith("https://127.0.0.1:")
        client = await dial_tls(address)
        for _ in range(3):
            assert (await converse(client)).endswith(b"\r\n\r\nhello")
        assert b"connection: close" in await converse(client, LAST)
        assert await client.receive_some() == b""
        await client.aclose()


async def test_beside_tls_another_address_speaks_plain_http() -> None:
    schemes: list[str] = []

    async def note(scope: Scope, receive: Receive, send: Send) -> None:
        schemes.append(scope["scheme"])
        assert ("tls" in scope["extensions"]) == (scope["scheme"] == "https")
        await app(scope, receive, send)

    certfile, keyfile = usual_files()
    config = Config(
        bind=["127.0.0.1:0"],
        insecure_bind=["127.0.0.1:0"],
        certfile=certfile,
        keyfile=keyfile,
        lifespan="off",
    )
    async with nothing_left(), trio.open_nursery() as nursery:
        secure, plain = await nursery.start(trioserve.serve, note, config)
        assert [secure.scheme, plain.scheme] == ["https", "http"]
        client = await dial_tls(secure)
        assert (await converse(client)).endswith(b"hello")
        await client.aclose()
        assert (await ask_once(plain)).endswith(b"hello")
        nursery.cancel_scope.cancel()
    assert schemes == ["https", "http"]


async def test_a_unix_socket_speaks_tls_too(tmp_path: Path) -> None:
    async with serving(bind=[f"unix:{tmp_path}/s"]) as address:
        assert address.path is not None
        client = TlsClientStream(await trio.open_unix_socket(address.path))
        assert (await converse(client)).endswith(b"hello")
        await client.aclose()


async def test_a_certificate_that_can_not_be_used_is_an_error_before_anything_is_bound() -> None:
    with pytest.raises(ConfigError, match=r"^certfile '/nowhere'"):
        await trioserve.serve(app, Config(certfile="/nowhere", bind=["unix:/nowhere/either"]))


async def test_a_server_without_a_certificate_refuses_a_tls_stream() -> None:
    async with open_server(app, Config(lifespan="off")) as server:
        with pytest.raises(RuntimeError, match="no certificate"):
            server.accept_tls_stream(trio.testing.memory_stream_pair()[0])


async def test_plain_http_reads_the_answer_and_no_reset() -> None:
    async with serving() as address:
        for _ in range(20):
            stream = await dial(address)
            answer = b""
            await stream.send_all(GET + b"x" * 50_000)  # more than the first read takes
            while data := await stream.receive_some():
                answer += data
            assert answer.startswith(b"HTTP/1.1 400 Bad Request\r\n")
            assert b"HTTPS" in answer
            await stream.aclose()


@pytest.mark.skipif(not hasattr(socket, "TCP_QUICKACK"), reason="it is Linux's own")
async def test_a_client_with_nagles_algorithm_does_not_wait_for_an_acknowledgement() -> None:
    times = []
    async with serving() as address:
        for _ in range(10):
            stream = await dial(address)
            stream.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 0)
            client = TlsClientStream(stream)
            await client.do_handshake()
            began = trio.current_time()
            assert await converse(client)
            times.append(trio.current_time() - began)
            await client.aclose()
    assert min(times) < 0.03  # 0.04 is what Linux delays it by, at least


# -- the extension -------------------------------------------------------------------------


async def describe(scope: Scope, receive: Receive, send: Send) -> None:
    tls = dict(scope["extensions"]["tls"])
    body = json.dumps({**tls, "client_cert_chain": list(tls["client_cert_chain"])}).encode()
    await send({"type": "http.response.start", "status": 200, "headers": []})
    await send({"type": "http.response.body", "body": body})


def body_of(response: bytes) -> dict[str, Any]:
    body: dict[str, Any] = json.loads(response.partition(b"\r\n\r\n")[2])
    return body


@pytest.mark.parametrize(
    ("version", "number", "suites"),
    [
        (ssl.TLSVersion.TLSv1_2, 0x0303, {0xC02B, 0xC02C, 0xCCA9}),  # RFC 5289, RFC 7905
        (ssl.TLSVersion.TLSv1_3, 0x0304, {0x1301, 0x1302, 0x1303}),  # RFC 8446, B.4
    ],
)
async def test_the_application_is_told_what_was_agreed_on(
    version: ssl.TLSVersion, number: int, suites: set[int]
) -> None:
    context = client_context()
    context.maximum_version = version
    async with serving(describe) as address:
        client = await dial_tls(address, context=context)
        tls = body_of(await converse(client))
        assert tls.pop("cipher_suite") in suites
        assert tls == {
            "server_cert": ssl.DER_cert_to_PEM_cert(client.getpeercert(binary_form=True)),
            "client_cert_chain": [],
            "client_cert_name": None,
            "client_cert_error": None,
            "tls_version": number,
        }
        await client.aclose()


@pytest.mark.parametrize("mode", ["optional", "required"])
async def test_the_application_is_told_who_the_client_is(mode: str, tmp_path: Path) -> None:
    authority().cert_pem.write_to_path(str(tmp_path / "ca.pem"))
    own = issue("ann@example.org", common_name="Ann, of Example", organization_name="Shop")
    async with serving(describe, cert_reqs=mode, ca_certs=tmp_path / "ca.pem") as address:
        client = await dial_tls(address, context=client_context(certificate=own))
        for _ in range(2):
            tls = body_of(await converse(client))
            assert tls["client_cert_chain"][0] == own.cert_chain_pems[0].bytes().decode()
            assert tls["client_cert_name"].startswith("CN=Ann\\, of Example,")
            assert ",O=Shop" in tls["client_cert_name"]
            assert tls["client_cert_error"] is None
        await client.aclose()


async def test_the_extension_can_not_be_changed_for_others() -> None:
    async def change(scope: Scope, receive: Receive, send: Send) -> None:
        with pytest.raises(TypeError):
            scope["extensions"]["tls"]["client_cert_name"] = "CN=root"
        await describe(scope, receive, send)

    async with serving(change) as address:
        client = await dial_tls(address)
        assert body_of(await converse(client))["client_cert_name"] is None
        await client.aclose()


# -- names and protocols -------------------------------------------------------------------


async def test_a_client_gets_the_certificate_of_the_name_it_asks_for(tmp_path: Path) -> None:
    exact = write_certificate(tmp_path, "shop.example", stem="exact")
    wild = write_certificate(tmp_path, "*.shop.example", stem="wild")
    named = ["Shop.Example={},{}".format(*exact), "*.shop.example={},{}".format(*wild)]
    context = client_context(alpn=["http/1.1"])
    context.check_hostname = False
    async with serving(describe, sni_certificate=named) as address:
        for name, expected in [
            ("shop.example", "shop.example"),
            ("SHOP.example", "shop.example"),
            ("www.shop.example", "*.shop.example"),
            ("a.www.shop.example", "localhost"),
            ("other.example", "localhost"),
            (None, "localhost"),
        ]:
            client = await dial_tls(address, name, context)
            assert names_of(client)[0] == expected
            assert client.selected_alpn_protocol() == "http/1.1"
            tls = body_of(await converse(client))
            certificate = client.getpeercert(binary_form=True)
            assert tls["server_cert"] == ssl.DER_cert_to_PEM_cert(certificate)
            await client.aclose()


@pytest.mark.parametrize(
    ("offered", "chosen"),
    [
        ([], None),
        (["http/1.1"], "http/1.1"),
        (["http/1.0", "http/1.1"], "http/1.1"),
        (["something"], None),
    ],
)
async def test_alpn_chooses_what_both_sides_speak(offered: list[str], chosen: str | None) -> None:
    async with serving() as address:
        client = await dial_tls(address, context=client_context(alpn=offered))
        assert client.selected_alpn_protocol() == chosen
        assert (await converse(client)).endswith(b"hello")
        await client.aclose()


# -- another certificate -------------------------------------------------------------------


async def test_certificates_are_replaced_under_open_connections(
    tmp_path: Path, clock: trio.abc.Clock
) -> None:
    certfile, keyfile = write_certificate(tmp_path, "old.example", "localhost")
    options: Any = {"certfile": certfile, "keyfile": keyfile, "keep_alive_timeout": 0}

    async def certificate_of_a_new_connection() -> str:
        await trio.sleep(1)  # files are looked at once a second
        client = await dial_tls(address)
        assert (await converse(client)).endswith(b"hello")
        await client.aclose()
        return names_of(client)[0]

    async with serving(**options) as address:
        kept = await dial_tls(address)
        assert await converse(kept)
        write_certificate(tmp_path, "new.example", "localhost")
        assert await certificate_of_a_new_connection() == "new.example"
        await trio.Path(keyfile).write_text("broken")
        assert await certificate_of_a_new_connection() == "new.example"
        write_certificate(tmp_path, "newer.example", "localhost")
        assert await certificate_of_a_new_connection() == "newer.example"
        assert (await converse(kept)).endswith(b"hello")
        assert names_of(kept)[0] == "old.example"
        await kept.aclose()


# -- limits and stops ----------------------------------------------------------------------


async def test_a_handshake_counts_as_a_connection_from_the_start() -> None:
    async with serving(max_connections=2) as address:
        silent = [await dial(address) for _ in range(2)]
        waiting = await dial(address)
        secure = TlsClientStream(waiting)
        with trio.move_on_after(0.1) as patience:
            await secure.do_handshake()
        assert patience.cancelled_caught
        await trio.aclose_forcefully(secure)
        await silent.pop().aclose()
        client = await dial_tls(address)
        assert await converse(client)
        await client.aclose()
        await silent.pop().aclose()


@contextlib.asynccontextmanager
async def stopping(app: ASGIApp = app, **options: Any) -> AsyncIterator[trio.abc.Stream]:
    """A client's stream to a server that stops gracefully at the end of the block."""
    tls = contexts(**options)
    client, sock = tcp_pair()
    stream = trio.SocketStream(trio.socket.from_stdlib_socket(client))
    async with (
        nothing_left_but(client),
        open_server(app, Config(lifespan="off", graceful_timeout=2), tls=tls) as server,
    ):
        theirs = trio.SocketStream(trio.socket.from_stdlib_socket(sock))
        server.accept_tls_stream(theirs)
        yield stream
    await trio.aclose_forcefully(stream)


@contextlib.asynccontextmanager
async def nothing_left_but(client: object) -> AsyncIterator[None]:
    before = trio.lowlevel.current_statistics().tasks_living
    with trio.fail_after(20):
        yield
    assert trio.lowlevel.current_statistics().tasks_living == before


@pytest.mark.parametrize("begun", [b"", b"\x16\x03\x01\x02\x00"])
async def test_a_stop_ends_handshakes_in_its_time(begun: bytes, clock: trio.abc.Clock) -> None:
    began = trio.current_time()
    async with stopping() as stream:
        await stream.send_all(begun)
        await wait_all_tasks_blocked(0.01)
    assert trio.current_time() - began == pytest.approx(2 if begun else 0.1, abs=0.02)


async def test_a_request_that_comes_right_after_a_handshake_in_a_stop_is_answered(
    clock: trio.abc.Clock,
) -> None:
    received: list[bytes] = []

    async def late(stream: trio.abc.Stream, rest: bytes, client: TlsClientStream) -> None:
        await stream.send_all(rest)
        received.append(await converse(client))

    async with trio.open_nursery() as nursery, stopping() as stream:
        client = TlsClientStream(stream)
        with contextlib.suppress(ssl.SSLWantReadError):
            client._tls.do_handshake()
        first = client._outgoing.read()
        await stream.send_all(first[:20])
        await wait_all_tasks_blocked(0.01)
        nursery.start_soon(late, stream, first[20:], client)
    assert received[0].startswith(b"HTTP/1.1 200")
    assert b"connection: close" in received[0]


async def test_a_stop_ends_idle_connections_and_lets_others_finish() -> None:
    entered, go_on = trio.Event(), trio.Event()

    async def slow(scope: Scope, receive: Receive, send: Send) -> None:
        entered.set()
        await go_on.wait()
        await app(scope, receive, send)

    received: list[bytes] = []

    async def request(client: TlsClientStream) -> None:
        received.append(await converse(client))

    async with trio.open_nursery() as nursery, stopping(slow) as stream:
        client = TlsClientStream(stream)
        nursery.start_soon(request, client)
        await entered.wait()
        go_on.set()
    assert received[0].endswith(b"hello")


# -- bodies --------------------------------------------------------------------------------


async def echo(scope: Scope, receive: Receive, send: Send) -> None:
    await send({"type": "http.response.start", "status": 200, "headers": []})
    more = True
    while more:
        message = await receive()
        more = message["more_body"]
        await send({"type": "http.response.body", "body": message["body"], "more_body": more})


@pytest.mark.parametrize("version", [ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3])
async def test_large_bodies_go_both_ways(version: ssl.TLSVersion) -> None:
    body = random.Random(7).randbytes(5_000_000)
    context = client_context()
    context.maximum_version = version
    # HTTP/1.0: the response ends with the connection, and TLS must say that this is its end.
    head = b"POST / HTTP/1.0\r\nHost: h\r\nContent-Length: %d\r\n\r\n" % len(body)
    async with serving(echo) as address:
        client: Client = trio.SSLStream(await dial(address), context, server_hostname="localhost")
        async with trio.open_nursery() as nursery:
            nursery.start_soon(client.send_all, head + body)
            received = bytearray()
            while data := await client.receive_some():  # breaks without a close_notify
                received += data
        assert bytes(received).partition(b"\r\n\r\n")[2] == body
        await client.aclose()


# -- clients that leave --------------------------------------------------------------------


@pytest.mark.parametrize("leave", ["close_notify", "end", "reset"])
async def test_a_client_that_leaves_in_a_request_is_noticed_and_its_grace_is_kept(
    leave: str, clock: trio.abc.Clock
) -> None:
    entered, told, cancelled = trio.Event(), trio.Event(), trio.Event()

    async def busy(scope: Scope, receive: Receive, send: Send) -> None:
        await receive()
        entered.set()
        assert (await receive())["type"] == "http.disconnect"
        told.set()
        try:
            await trio.sleep_forever()
        finally:
            cancelled.set()

    async with serving(busy, asgi_disconnect_grace_period=3) as address:
        stream = await dial(address)
        client = TlsClientStream(stream)
        await client.send_all(GET)
        await entered.wait()
        if leave == "close_notify":
            await client.aclose()
        elif leave == "end":
            await stream.aclose()
        else:
            reset_on_close(stream.socket)  # type: ignore[arg-type]
            await stream.aclose()
        await told.wait()
        left = trio.current_time()
        assert not cancelled.is_set()
        await cancelled.wait()
        assert trio.current_time() - left == pytest.approx(3)


class Cutting(trio.abc.HalfCloseableStream):
    """Passes a number of bytes on to a stream, and then breaks."""

    def __init__(self, stream: trio.SocketStream, sent: int) -> None:
        self.stream = stream
        self.left = sent

    async def send_all(self, data: bytes | bytearray | memoryview) -> None:
        part = bytes(data[: self.left])
        await self.stream.send_all(part)
        self.left -= len(part)
        if not self.left:
            raise trio.BrokenResourceError

    async def wait_send_all_might_not_block(self) -> None:
        await self.stream.wait_send_all_might_not_block()

    async def receive_some(self, max_bytes: int | None = None) -> bytes:
        return bytes(await self.stream.receive_some(max_bytes))

    async def send_eof(self) -> None:
        await self.stream.send_eof()

    async def aclose(self) -> None:
        await self.stream.aclose()


async def test_a_hundred_handshakes_that_are_cut_anywhere_leave_nothing(
    caplog: pytest.LogCaptureFixture,
) -> None:
    chance = random.Random(4711)

    async def cut(address: BoundAddress, number: int) -> None:
        stream = await dial(address)
        secure = TlsClientStream(Cutting(stream, chance.randrange(700)))
        with contextlib.suppress(trio.BrokenResourceError):
            await secure.send_all(GET)
        if number % 2:
            reset_on_close(stream.socket)  # type: ignore[arg-type]
        await trio.aclose_forcefully(secure)

    async with serving() as address:
        async with trio.open_nursery() as nursery:
            for number in range(100):
                nursery.start_soon(cut, address, number)
        client = await dial_tls(address)
        assert (await converse(client)).endswith(b"hello")
        await client.aclose()
    assert all(record.exc_info is None for record in caplog.records)


async def test_nothing_is_left_on_the_server_while_it_goes_on() -> None:
    certfile, keyfile = usual_files()
    config = Config(lifespan="off", certfile=certfile, keyfile=keyfile)
    async with open_server(app, config, tls=contexts()) as server:
        closed: list[None] = []
        for first in (b"", b"\x16\x03", GET, b"\x00"):
            client, sock = tcp_pair()
            theirs = trio.SocketStream(trio.socket.from_stdlib_socket(sock))
            server.accept_tls_stream(theirs, on_closed=lambda: closed.append(None))
            ours = trio.SocketStream(trio.socket.from_stdlib_socket(client))
            await ours.send_all(first)
            await wait_all_tasks_blocked(0.01)
            await ours.aclose()
            await wait_all_tasks_blocked(0.01)
            assert sock.fileno() == -1
        assert len(closed) == 4
        assert not server.handshakes
        assert not server.connections
